#!/bin/sh
# A refresh as scripts do it: read the token with jq, post it with curl, merge the
# answer into the file with jq, move the new file over the old one.
#   curl-jq.sh FILE TOKEN-URL CLIENT-ID
set -e
token=$(jq -re .refresh_token "$1")
answer=$(curl -sSf --data-urlencode "refresh_token=$token" -d grant_type=refresh_token -d "client_id=$3" "$2")
printf '%s' "$answer" | jq -se '.[0] * .[1]' "$1" - >"$1.tmp"
mv "$1.tmp" "$1"
