package latchkey

import (
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// The vendor's environments, for Config.BaseURL. A service of latchkey has a URL of its own.
const (
	ProductionURL  = wire.ProductionBaseURL // the default
	StagingURL     = "https://staging.thingspace.verizon.com"
	DevelopmentURL = "https://devmanagement-staging.thingspace.verizon.com"
	QAURL          = "https://tsd-nginx-qa-us-east-1.thingspace.verizon.com"
	MockURL        = "https://mock-staging.thingspace.verizon.com"
)

const vendorsHost = "thingspace.verizon.com" // of ProductionURL

// vendorHosts returns the further hosts of the vendor's production that need the session.
func vendorHosts() map[string]string {
	return map[string]string{
		"imp.thingspace.verizon.com": wire.HeaderSessionTokenIMP,
		"5gedge.verizon.com":         wire.HeaderSessionToken,
	}
}

// vendorEnvironment returns the URL of an environment by the name that it has in the
// vendor's SDKs, whose spellings differ from language to language; "" for no such name.
func vendorEnvironment(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(name))
	switch {
	case name == "production":
		return ProductionURL
	case name == "staging":
		return StagingURL
	case name == "dev":
		return DevelopmentURL
	case name == "qa":
		return QAURL
	case strings.HasPrefix(name, "mockserver"):
		return MockURL
	}
	return ""
}
