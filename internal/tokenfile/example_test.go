package tokenfile_test

import (
	"fmt"
	"time"

	"github.com/evergrant/evergrant/internal/tokenfile"
)

func Example() {
	file, err := tokenfile.Open([]byte("{\n  \"access_token\": \"old\",\n  \"refresh_token\": \"kept\",\n  \"expires_at\": 1738348388\n}\n"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	file, changes, err := file.Merge(tokenfile.Answer{
		Members: []tokenfile.Member{
			{Name: "access_token", Value: []byte(`"new"`)},
			{Name: "token_type", Value: []byte(`"Bearer"`)},
		},
		Received: time.Unix(1763899200, 0),
		Lifetime: time.Hour,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s", file.Bytes())
	for _, c := range changes {
		fmt.Println(c.Kind, c.Name)
	}
	// Output:
	// {
	//   "access_token": "new",
	//   "refresh_token": "kept",
	//   "expires_at": 1763902800,
	//   "token_type": "Bearer"
	// }
	// updated access_token
	// kept refresh_token
	// recomputed expires_at
	// added token_type
}
