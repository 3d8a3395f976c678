//go:build linux

package main

import _ "embed"

//go:embed peers/curl-jq.sh
var curlJQ string

//go:embed peers/merge.sh
var mergeScript string

// scripts are the shell scripts by their file names.
var scripts = map[string]string{"curl-jq.sh": curlJQ, "merge.sh": mergeScript}
