//go:build linux

// Command barerefresh is the least that a Go program does to refresh a token
// file durably: lock, read, POST, merge, fsync, rename, sync the directory. It is
// the yardstick for `evergrant refresh`, not a tool: it keeps no journal, loses
// the order of the members, and does not look whether another process refreshed
// meanwhile.
//
//	barerefresh FILE TOKEN-URL CLIENT-ID
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: barerefresh FILE TOKEN-URL CLIENT-ID")
		os.Exit(2)
	}
	if err := refresh(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "barerefresh:", err)
		os.Exit(1)
	}
}

func refresh(path, tokenURL, clientID string) error {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		return err
	}
	answer, err := post(tokenURL, clientID, doc["refresh_token"].(string))
	if err != nil {
		return err
	}
	maps.Copy(doc, answer)
	if b, err = json.MarshalIndent(doc, "", "  "); err != nil {
		return err
	}
	return replace(path, b)
}

func post(tokenURL, clientID, refreshToken string) (map[string]any, error) {
	resp, err := http.PostForm(tokenURL, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}, "client_id": {clientID},
	})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || answer["access_token"] == nil {
		return nil, errors.New(resp.Status)
	}
	return answer, nil
}

func replace(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
