package wire

import (
	"slices"
	"strings"
)

// Family is the purpose of a header that a gateway or a proxy must not simply
// pass on.
type Family int

// The families of header names.
const (
	// Ordinary headers belong to the two ends.
	Ordinary Family = iota
	// Credential headers identify the sender: tokens, cookies, client
	// certificates, and user names set by a proxy that has checked them.
	Credential
	// Override headers replace the method, the path or the host of a request, or
	// make a proxy in front replace a response.
	Override
	// Forwarding headers are added by proxies and describe who is behind them.
	Forwarding
	// Connection headers describe one connection.
	Connection
	// Repeat headers make transports and servers treat a request as safe to repeat.
	Repeat
	// Own headers are set by latchkey.
	Own
)

// maxFamilyName is the number of letters and digits that FamilyOf compares. No
// name in its tables is longer.
const maxFamilyName = 64

// FamilyOf returns the family of a header by its name. Only letters and digits
// count, without regard to case, because CGI and its successors read "-", "_" and
// other characters as the same one: Vz_M2m_Token is VZ-M2M-Token. It does not
// allocate for names of ordinary length.
func FamilyOf(name string) Family {
	switch name { // the headers of nearly every request and response
	case "Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "Content-Encoding", "Content-Length",
		"Content-Type", "Date", "Etag", "Expires", "Last-Modified", "Location", "Pragma", "Retry-After", "Server",
		"Strict-Transport-Security", "Te", "User-Agent", "Vary", "X-Content-Type-Options", "X-Frame-Options",
		HeaderRequestID:
		return Ordinary
	case "Authorization", "Vz-M2m-Token":
		return Credential
	}
	var letters [maxFamilyName]byte
	n := 0
	for i := 0; i < len(name) && n < len(letters); i++ {
		switch c := name[i]; {
		case c >= 'A' && c <= 'Z':
			letters[n] = c | 0x20
			n++
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			letters[n] = c
			n++
		}
	}
	squeezed := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(string(letters[:n]), "x"), "http"), "x")
	for _, f := range families {
		if f.has(squeezed) {
			return f.family
		}
	}
	return Ordinary
}

// names describes the names of a family in the form that FamilyOf compares:
// letters and digits in lower case, without an initial X- and HTTP_.
type names struct {
	family                          Family
	exact, prefix, suffix, anywhere []string
}

func (f *names) has(name string) bool {
	for _, text := range f.prefix {
		if strings.HasPrefix(name, text) {
			return true
		}
	}
	for _, text := range f.suffix {
		if strings.HasSuffix(name, text) {
			return true
		}
	}
	for _, text := range f.anywhere {
		if strings.Contains(name, text) {
			return true
		}
	}
	return slices.Contains(f.exact, name)
}

var families = []names{
	{
		family: Own,
		prefix: []string{"latchkey"},
	},
	{
		family:   Repeat,
		anywhere: []string{"idempoten"}, // -cy, -t, -ce
	},
	{
		family: Forwarding,
		exact: []string{
			"via", "bluecoatvia", "ip", "scheme", "urlscheme", "frontendhttps", "comingfrom", "nginxproxy",
			"clienthost", "clientport", "fromip", "cfip", "proto", "realport", "realproto", "servername", "serverport",
		},
		prefix: []string{"forward", "appengine", "envoy", "cfpseudo", "cfvisitor", "cfipcountry", "cfconnecting", "wlproxy"},
		suffix: []string{
			"ipaddress", "ipaddr", "clientaddress", "clientaddr", "remoteaddress", "remoteaddr", "remotehost",
			"remoteport", "peeraddress", "peeraddr", "proxiedfor",
		},
		anywhere: []string{
			"forwarded", "clientip", "realip", "trueip", "remoteip", "userip", "sourceip", "srcip", "peerip",
			"socketip", "originip", "originatingip", "originalip", "connectingip", "connectionip", "callerip",
			"visitorip", "hostip", "clusterip",
		},
	},
	{
		family: Credential,
		exact: []string{
			"cookie", "cookies", "cookie2", "auth", "authtoken", "bearer", "bearertoken", "authenticationinfo",
			"wwwauthenticate",
			"clientdn",
			"clientverify", "consumerid", "consumerusername", "consumercustomid", "credentialusername", "credentialidentifier",
		},
		prefix: []string{
			"setcookie", "proxy", "ssl", "tlsclient", "remoteuser", "remotegroup", "remoteemail", "remotename",
			"authuser", "authrequest", "webauth", "amznoidc", "googiap",
		},
		suffix:   []string{"authorization", "accesstoken"},
		anywhere: []string{"m2mtoken", "sessiontoken", "clientcert", "clientprincipal", "authenticateduser"},
	},
	{
		family: Override,
		exact: []string{
			"requestmethod", "realmethod", "host", "realhost", "url", "uri", "path", "requesturl",
			"requesturi", "requestpath", "realurl", "realuri", "baseurl", "destinationurl", "wawsunencodedurl",
			"accelmapping", "accelredirect", "accelinternal", "verb", "scriptname", "pathinfo", "servletpath", "contextpath",
			"basepath", "querystring", "requestquery", "targeturl", "targeturi", "targethost", "backendhost",
		},
		prefix:   []string{"method", "original", "rewrite", "sendfile", "reproxy"},
		suffix:   []string{"sendfile", "sendtempfile"},
		anywhere: []string{"override"},
	},
	{
		family: Connection,
		// Where these are spelled as usual, net/http has dealt with them.
		exact: []string{
			"connection", "keepalive", "te", "trailer", "trailers", "transferencoding", "contentlength",
			"upgrade", "2settings", "altsvc", "altused",
		},
	},
}
