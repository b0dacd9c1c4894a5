package docs

// demo starts the service that the README starts in its first section, and stop ends
// the service that was started last.
const (
	demo = "launch 127.0.0.1:8080 ./latchkey serve --demo\n"
	stop = "stop\n"
)

var proxyTests = use{kind: elsewhere, reason: "../internal/server/proxies_test.go"}

// uses says what the tests make of the code blocks of each section, in order.
var uses = map[string][]use{
	"README.md: Try it": {
		{kind: serve},
		{wants: []string{"HTTP/1.1 200 OK", "Latchkey-User: zbeeblebrox", `{"sessionToken":"`}},
		{kind: unrun, reason: "these tests"},
	},
	"README.md: A Go program": {
		{kind: program, before: demo, wants: []string{"the token prints as [redacted]"}},
		{kind: unrun, reason: "a module of its own needs a module proxy"},
	},
	"README.md: A program that stays logged in": {
		{kind: program, before: demo, wants: []string{`"user":"zbeeblebrox"`, "200 OK"}},
		{kind: snippet, before: `import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/pgstate"
)

func open(ctx context.Context, pool *pgxpool.Pool, key []byte) (keeper.State, error) {
`},
	},
	"README.md: A password that is changed, and not lost": {
		{before: demo, wants: []string{"send the reset, once …", "the password of zbeeblebrox is changed", "a login has proven it"}},
	},
	"README.md: A gateway: your users, one upstream session": {
		{kind: serve},
		{kind: serve, wants: []string{"as zbeeblebrox"}},
		{wants: []string{`"path":"/api/m2m/v1/accounts/0000123456-00001","user":"zbeeblebrox"`}},
		{wants: []string{"session   live", "strikes   0, at most", "rotation  none under way", "user-added"}},
		{kind: serve, repeat: 2, before: stop, edits: [][2]string{
			{"--rotate-every 90d", "--rotate-every 90d --trust-local zoe --local-socket gateway.sock"},
		}, wants: []string{"requests without credentials run as zoe"}},
		{wants: []string{`"user":"zbeeblebrox"}` + "\n" + `{"method":"GET"`}},
	},
	"README.md: Testing your own program": {
		{kind: elsewhere, reason: "../latchtest/readme_test.go"},
		{kind: serve},
		{wants: []string{`"drop-after"`, `"now":`, `"form":"location"`, `"endSessionsOnLogin":true`, `"count":0`, `"access-token-revoked"`}},
		{wants: []string{`"access_token":"`}},
	},
	"README.md: Your own service": {
		{kind: serve, wants: []string{"Nobody can use it yet"}},
		{edits: [][2]string{{"user add zoe ", "user add zoe >password "}}, wants: []string{"zoe   active", "client-added"}},
		{edits: [][2]string{{"login --user zoe ", "login --user zoe --password-file password "}}, wants: []string{"as zoe", "stored", `"user":"zoe"`, "logged out"}},
	},
	"README.md: More than one machine": {
		{kind: elsewhere, reason: "scaling.md"},
	},

	"operating.md: Operating the service": {
		{kind: serve, wants: []string{`"msg":"listening"`}},
		{before: stop, wants: []string{"listen"}},
	},
	"operating.md: Backup and restore": {
		{before: "launch 127.0.0.1:8080 latchkey serve --data /var/lib/latchkey\nlatchkey user add zoe --data /var/lib/latchkey\n", wants: []string{"backup"}},
		{kind: serve, before: stop, wants: []string{"zoe"}},
	},
	"operating.md: A gateway that has stopped logging in": {
		{before: demo + `echo wrong | latchkey credential set --credential-file gateway.json --user zbeeblebrox --password-stdin
echo IMgr8 >password
export LATCHKEY_API_KEY=demo-key LATCHKEY_API_SECRET=demo-secret
latchkey rotate --credential-file gateway.json --url http://127.0.0.1:8080 --now || test $? = 4
`, edits: [][2]string{{"8080\n", "8080 || test $? = 4\n"}}, wants: []string{"strikes   1, at most", "latched   ", "with the same options as this command"}},
		{},
		{wants: []string{"logins are made again"}},
	},
	"operating.md: Probes and metrics": {
		{before: "export LATCHKEY_LISTEN=127.0.0.1:8080\n", wants: []string{"not ready"}},
	},
	"operating.md: The audit trail": {
		{
			before: "export LATCHKEY_DATA=data\nlaunch 127.0.0.1:8080 latchkey serve --data data\nlatchkey user add zoe\nlatchkey client add dispatch\n",
			edits:  [][2]string{{">> audit.jsonl ", ">> audit.jsonl & "}},
			wants:  []string{"user-added", "2 events are as they were written"},
		},
	},

	"proxies.md: nginx":   {proxyTests},
	"proxies.md: Caddy":   {proxyTests},
	"proxies.md: HAProxy": {proxyTests, proxyTests},
	"proxies.md: Traefik": {{kind: document}},
	"proxies.md: Envoy":   {{kind: document}, {kind: document}},
	"proxies.md: A proxy before a gateway with `--trust-local`": {{kind: elsewhere, reason: "../internal/server/trustlocal_test.go"}},

	"scaling.md: The picture": {{kind: unrun, reason: "it is a picture"}},
	"scaling.md: By hand, on one machine": {
		{},
		{},
		{before: "ready 127.0.0.1:8081; ready 127.0.0.1:8082; ready 127.0.0.1:8083\n", wants: []string{"user zoe was added", "API client dispatch was added"}},
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
}
