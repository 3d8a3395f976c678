// Package serve runs an authorization server the way the tests of interop expect it: [On] a free port of 127.0.0.1,
// reporting in JSON lines on stdout, until stdin ends.
//
//	{"event":"ready","issuer":…,"client_id":…}   once
//	{"event":"request",…}                        each request, answered: path, names of its parameters, status
//
// A line on stdin is answered with {"event":"command"}: whatever was done before it has been reported then.
package serve

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
)

// On listens, makes the handler for the issuer that came of it, and serves. It does not return.
func On(clientID string, handler func(issuer string) http.Handler) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	issuer := "http://" + listener.Addr().String()
	h := handler(issuer)
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			say(map[string]any{"event": "command"})
		}
		os.Exit(0)
	}()
	say(map[string]any{"event": "ready", "issuer": issuer, "client_id": clientID, "token_endpoint": issuer + "/token"})
	log.Fatal(http.Serve(listener, recorded(h)))
}

// recorded reports requests, without a value of them.
func recorded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		params := r.URL.Query()
		form, _ := url.ParseQuery(string(body))
		maps.Copy(params, form)
		scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		answer := &answer{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(answer, r)
		say(map[string]any{
			"event": "request", "path": r.URL.Path, "method": r.Method, "status": answer.status, "scheme": scheme,
			"params": slices.Sorted(maps.Keys(params)), "grant_type": params.Get("grant_type"), "error": answer.refusal(),
		})
	})
}

type answer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer // of a refusal
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status >= 400 {
		a.body.Write(b)
	}
	return a.ResponseWriter.Write(b)
}

func (a *answer) refusal() string {
	var e struct {
		Error string `json:"error"`
	}
	json.Unmarshal(a.body.Bytes(), &e)
	return e.Error
}

var mu sync.Mutex

func say(v map[string]any) {
	mu.Lock()
	defer mu.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		os.Exit(0) // nobody listens
	}
}
