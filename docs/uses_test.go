package docs

const (
	// demo starts the service that README.md starts in its first section.
	demo = "launch 127.0.0.1:8080 ./latchkey serve --demo\n"
	// simulation starts it with a stand-in for the rest of the API.
	simulation = "launch 127.0.0.1:8080 ./latchkey serve --demo --simulate\n"
	// stop ends the service that was started last.
	stop = "stop\n"
	// key is the API key that README.md exports in its first section.
	key = "export LATCHKEY_URL=http://127.0.0.1:8080 LATCHKEY_API_KEY=demo-key LATCHKEY_API_SECRET=demo-secret\n"
)

// vendorExample is a snippet of the vendor's page in Go, which is an Example of the client.
var vendorExample = use{kind: excerpt, reason: "../vendor_example_test.go"}

var proxyTests = use{kind: elsewhere, reason: "../internal/server/proxies_test.go"}

// uses is what the tests do with the code blocks of each section, in order.
var uses = map[string][]use{
	"README.md: Try it": {
		{kind: serve, edits: [][2]string{
			{"git clone https://github.com/latchkey/latchkey", "true"}, {"cd latchkey", "true"},
		}},
		{},
		{kind: output},
	},
	"README.md: The Go client": {
		{kind: excerpt, reason: "examples/client/main.go"},
		{before: demo, wants: []string{"logged in with the token [redacted]"}},
	},
	"README.md: The keeper": {
		{kind: excerpt, reason: "examples/keeper/main.go"},
		{before: simulation, wants: []string{`"path":"/api/m2m/v1/accounts/0000123456-00001","user":"zbeeblebrox"`}},
	},
	"README.md: The gateway": {
		{kind: serve, before: simulation, wants: []string{"as zbeeblebrox"}},
		{wants: []string{`"path":"/api/m2m/v1/accounts/0000123456-00001","user":"zbeeblebrox"`, "user-added"}},
	},
	"README.md: How it is tested": {{kind: unrun, reason: "these tests"}},

	"architecture.md: The parts": {{kind: unrun, reason: "it is a picture"}},

	"client.md: In a module of your own": {
		{before: demo + "mkdir clone; cd clone\n", edits: [][2]string{{"CLONE=$PWD", `CLONE="$TREE"`}, {
			`cp "$CLONE/docs/examples/client/main.go" .`,
			`sed "s/127[.]0[.]0[.]1:8080/127.0.0.1:8080/" "$CLONE/docs/examples/client/main.go" >main.go`,
		}}, wants: []string{"logged in with the token [redacted]"}},
	},
	"client.md: Requests to the rest of the API": {
		{kind: program, before: demo + key, wants: []string{`"user":"zbeeblebrox"`}},
	},
	"client.md: A reset": {{kind: snippet, before: `import (
	"context"

	"github.com/latchkey/latchkey"
)

`}},
	"client.md: A service behind latchkey": {{kind: snippet, before: `import (
	"log"
	"net/http"

	"github.com/latchkey/latchkey/verify"
)

`}},
	"keeper.md: What it promises": {{kind: snippet, before: `import (
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/keeper"
)

`}},
	"keeper.md: Where the session is kept": {{kind: snippet, before: `import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/pgstate"
)

`}},
	"keeper.md: Rotation": {
		{before: demo, wants: []string{
			"send the reset, once …", "the password of zbeeblebrox was changed", "a login has proven it",
			"strikes   0, at most",
		}},
		{kind: snippet, before: `import (
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper"
)

`},
	},
	"gateway.md: Try it": {
		{kind: serve},
		{kind: serve, wants: []string{"as zbeeblebrox"}},
		{wants: []string{`"path":"/api/m2m/v1/accounts/0000123456-00001","user":"zbeeblebrox"`}},
		{wants: []string{"session   live", "strikes   0, at most", "rotation  none under way", "user-added"}},
	},
	"gateway.md: Programs that cannot log in": {{
		before: simulation + `printf IMgr8 | ./latchkey credential set --credential-file local.json \
  --user zbeeblebrox --password-stdin
export LATCHKEY_UPSTREAM_API_SECRET=demo-secret LATCHKEY_UPSTREAM_API_KEY=demo-key
launch 127.0.0.1:8081 ./latchkey serve --data ./local-data --upstream http://127.0.0.1:8080 \
  --upstream-credential-file local.json --trust-local zoe --local-socket gateway.sock
printf correct-horse | ./latchkey user add zoe --password-stdin --data ./local-data
`,
		wants: []string{`"user":"zbeeblebrox"}` + "\n" + `{"method":"GET"`},
	}},
	"testing.md: In Go": {{kind: elsewhere, reason: "../latchtest/testingpage_test.go"}},
	"testing.md: In any language": {
		{kind: serve},
		{wants: []string{
			`"drop-after"`, `"now":`, `"form":"location"`, `"endSessionsOnLogin":true`, `"count":0`, `"access-token-revoked"`,
		}},
	},
	"testing.md: Side by side": {{wants: []string{`"access_token":"`}}},

	"operating.md: The first start": {
		{kind: serve, wants: []string{"has no users and no API clients yet"}},
		{edits: [][2]string{{"user add zoe ", "user add zoe >password "}}, wants: []string{"zoe   active", "client-added"}},
		{
			edits: [][2]string{{"login --user zoe ", "login --user zoe --password-file password "}},
			wants: []string{"as zoe", "stored", `"user":"zoe"`, "logged out"},
		},
	},
	"operating.md: Start and stop": {
		{kind: serve, wants: []string{`"msg":"listening"`}},
		{before: stop, wants: []string{"listen"}},
	},
	"operating.md: Backup and restore": {
		{before: `launch 127.0.0.1:8080 latchkey serve --data /var/lib/latchkey
latchkey user add zoe --data /var/lib/latchkey
`, wants: []string{"backup"}},
		{kind: serve, before: stop, wants: []string{"zoe"}},
	},
	"operating.md: A gateway that has stopped logging in": {
		{before: demo + `echo wrong | latchkey credential set --credential-file gateway.json \
  --user zbeeblebrox --password-stdin
echo IMgr8 >password
export LATCHKEY_API_KEY=demo-key LATCHKEY_API_SECRET=demo-secret
latchkey rotate --credential-file gateway.json --url http://127.0.0.1:8080 --now || test $? = 4
`, edits: [][2]string{{"8080\n", "8080 || test $? = 4\n"}}, wants: []string{
			"strikes   1, at most", "latched   ", "with the same options as this command",
		}},
		{},
		{wants: []string{"may log in again"}},
	},
	"operating.md: Probes and metrics": {
		{before: "export LATCHKEY_LISTEN=127.0.0.1:8080\n", wants: []string{"not ready"}},
	},
	"operating.md: The audit trail": {
		{
			before: `export LATCHKEY_DATA=data
launch 127.0.0.1:8080 latchkey serve --data data
latchkey user add zoe
latchkey client add dispatch
`,
			edits: [][2]string{{">> audit.jsonl ", ">> audit.jsonl & "}},
			wants: []string{"user-added", "2 events are as they were written"},
		},
	},

	"proxies.md: nginx":   {proxyTests},
	"proxies.md: Caddy":   {proxyTests},
	"proxies.md: HAProxy": {proxyTests, proxyTests},
	"proxies.md: Traefik": {{kind: document}},
	"proxies.md: Envoy":   {{kind: document}, {kind: document}},
	"proxies.md: A proxy before a gateway with `--trust-local`": {
		{kind: elsewhere, reason: "../internal/server/trustlocal_test.go"},
	},

	"scaling.md: The picture": {{kind: unrun, reason: "it is a picture"}},
	"scaling.md: By hand, on one machine": {
		{},
		{},
		{
			before: "ready 127.0.0.1:8081; ready 127.0.0.1:8082; ready 127.0.0.1:8083\n",
			wants:  []string{"user zoe was added", "API client dispatch was added"},
		},
		{wants: []string{"HTTP/1.1 200 OK", "Latchkey-User: zoe", "HTTP/1.1 401 Unauthorized"}},
	},
	"scaling.md: From an embedded database": {
		{kind: serve, before: `launch 127.0.0.1:8080 env -u LATCHKEY_DATABASE latchkey serve --data /var/lib/latchkey
env -u LATCHKEY_DATABASE latchkey user add zoe --data /var/lib/latchkey
stop
`, wants: []string{"serves the session API"}},
	},
	"scaling.md: Backup and restore": {
		{before: "latchkey user add zoe\n"},
		{wants: []string{"zoe"}},
	},
	"scaling.md: Another server key": {
		{before: `openssl rand 32 >server.key
chmod 600 server.key
LATCHKEY_KEY_FILE=server.key launch 127.0.0.1:8080 latchkey serve
stop
`, wants: []string{"DELETE 1"}},
	},

	"vendor-sdk.md: Coming from the vendor's SDK": {vendorExample},
	"vendor-sdk.md: Log in":                       {vendorExample},
	"vendor-sdk.md: Log out":                      {vendorExample},
	"vendor-sdk.md: Reset the password":           {vendorExample},
	"vendor-sdk.md: Errors":                       {vendorExample},
}
