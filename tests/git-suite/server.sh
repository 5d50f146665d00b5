# Sourced by git's lib-httpd.sh: a Slipway for every script that starts an Apache.

start_httpd () {
	mkdir -p "$HTTPD_DOCUMENT_ROOT_PATH"
	# The path of a socket is short, and those of the tests are long.
	SLIPWAY_FOLDER=$(mktemp -d)
	"$SLIPWAY_BINARY" --data "$SLIPWAY_FOLDER" serve --http 127.0.0.1:0 --ssh 127.0.0.1:0 \
		>"$HTTPD_ROOT_PATH/slipway.log" 2>&1 &
	SLIPWAY_PID=$!
	tries=0
	until test -s "$SLIPWAY_FOLDER/run/http" && test -S "$SLIPWAY_FOLDER/run/admin.sock"
	do
		tries=$(($tries + 1))
		test $tries -lt 300 || error "Slipway did not start: $(cat "$HTTPD_ROOT_PATH/slipway.log")"
		sleep 0.1
	done
	SLIPWAY_HTTP=$(cat "$SLIPWAY_FOLDER/run/http") &&
	"$SLIPWAY_BINARY" --data "$SLIPWAY_FOLDER" user add tester --owner >/dev/null &&
	SLIPWAY_BASIC=$(printf 'tester:%s' "$("$SLIPWAY_BINARY" --data "$SLIPWAY_FOLDER" token create tester \
		--scope repo:read,repo:write 2>/dev/null)" | base64 -w 0) &&
	SLIPWAY_NAMES=$TEST_PATH/repository-name &&
	# In a file, because there are blanks in the names, at which Apache would cut them.
	SLIPWAY_PLACES=$(mktemp) &&
	printf '%s\n' "$SLIPWAY_BINARY" "$SLIPWAY_FOLDER" "$HTTPD_DOCUMENT_ROOT_PATH" >"$SLIPWAY_PLACES" &&
	export SLIPWAY_HTTP SLIPWAY_BASIC SLIPWAY_NAMES SLIPWAY_PLACES &&
	start_apache "$@"
}

stop_httpd () {
	stop_apache
	kill $SLIPWAY_PID 2>/dev/null
	wait $SLIPWAY_PID
	rm -rf "$SLIPWAY_PLACES" "$SLIPWAY_FOLDER"
}
