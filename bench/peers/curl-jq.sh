# The least a shell script does: one curl, one jq; the new refresh token is kept
# in FOLDER/rt, the access token printed. No lock, no file in the old format.
#   curl-jq.sh FOLDER TOKEN-URL CLIENT-ID
set -e
curl -sf -d grant_type=refresh_token -d client_id="$3" --data-urlencode refresh_token@"$1/rt" "$2" |
	jq -r '.access_token, .refresh_token' | {
	read -r access
	read -r refresh
	printf %s "$refresh" >"$1/rt"
	printf '%s\n' "$access"
}
