package wire_test

import (
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "LocalHost": true,
		"127.0.0.1": true, "127.0.0.0": true, "127.255.255.254": true, "127.1.2.3": true,
		"::1": true, "0:0:0:0:0:0:0:1": true, "::1%lo": true, "::ffff:127.0.0.1": true, "::ffff:7f00:1": true,

		"": false, " localhost": false, "localhost ": false, "localhost.": false, "localhost:80": false, "[::1]": false,
		"localhost.localdomain": false, "a.localhost": false, "localhost.example.org": false, "notlocalhost": false,
		"localho\u017ft":           false, // the long s folds to s
		"localhost\x00":            false,
		"127.0.0.1.":               false,
		"127.0.0.1.example.org":    false,
		"127.1":                    false, // inet_aton reads these as 127.0.0.1, and DNS as names
		"2130706433":               false,
		"0x7f000001":               false,
		"0177.0.0.1":               false,
		"127.000.000.001":          false,
		"0.0.0.0":                  false,
		"::":                       false,
		"128.0.0.1":                false,
		"126.255.255.255":          false,
		"10.0.0.1":                 false,
		"169.254.0.1":              false,
		"::2":                      false,
		"fe80::1":                  false,
		"::127.0.0.1":              false, // IPv4-compatible, not mapped
		"64:ff9b::7f00:1":          false,
		"::ffff:10.0.0.1":          false,
		"thingspace.verizon.com":   false,
		"ip6-localhost":            false,
		"host.docker.internal":     false,
		"127.0.0.1@example.org":    false,
		"example.org#@127.0.0.1":   false,
		"\uff11\uff12\uff17.0.0.1": false, // full-width digits
	} {
		if got := wire.IsLoopback(host); got != want {
			t.Errorf("IsLoopback(%q) = %v, want %v", host, got, want)
		}
	}
}
