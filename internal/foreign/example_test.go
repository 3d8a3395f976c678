package foreign_test

import (
	"fmt"

	"github.com/evergrant/evergrant/internal/foreign"
)

// A grant moves from one tool's file to another's.
func Example() {
	list, err := foreign.Read([]byte(`[work]
type = drive
client_id = 1234.apps.example
client_secret = of-the-client
token = {"access_token":"at","token_type":"Bearer","refresh_token":"rt","expiry":"2026-11-23T01:54:28+01:00"}
`), foreign.Options{Name: "rclone.conf"})
	if err != nil {
		panic(err)
	}
	g, err := foreign.Choose(list, "work")
	if err != nil {
		panic(err)
	}
	format, err := foreign.Named("google-authorized-user")
	if err != nil {
		panic(err)
	}
	file, err := foreign.Write(format, g)
	fmt.Printf("%s%v\nleft out: %v\n", file, err, format.Leaves(g))
	// Output:
	// {
	//   "client_id": "1234.apps.example",
	//   "client_secret": "of-the-client",
	//   "refresh_token": "rt",
	//   "type": "authorized_user"
	// }
	// <nil>
	// left out: [access token expiry token type]
}
