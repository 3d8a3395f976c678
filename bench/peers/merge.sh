# What scripts do to keep a token file: read, POST, merge, replace. No lock, no
# fsync; two at once spend each other's refresh token.
#   merge.sh FILE TOKEN-URL CLIENT-ID
set -e
new="$1.$$"
jq -j .refresh_token "$1" |
	curl -sf -d grant_type=refresh_token -d client_id="$3" --data-urlencode refresh_token@- "$2" |
	jq -s '.[0] * .[1]' "$1" - >"$new"
mv "$new" "$1"
