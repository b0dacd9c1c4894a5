package wire

import (
	"net/http"
	"strings"
)

// Meaning is the reason why an error response refuses a request.
type Meaning int

// The meanings that matter to a client. Every other error response is MeaningOther.
const (
	MeaningOther Meaning = iota
	MeaningSessionExpired
	MeaningSessionInvalid
	MeaningSessionMissing
	MeaningBearer     // the access token was refused
	MeaningToken      // one of the two tokens was refused; the response does not specify which
	MeaningThrottled  // too many requests
	MeaningBlocked    // the API client was blocked; a retry cannot succeed
	MeaningNoResource // the API gateway knows no resource of this path
)

// OfSession reports whether m means that the session token was refused.
func (m Meaning) OfSession() bool {
	return m == MeaningSessionExpired || m == MeaningSessionInvalid || m == MeaningSessionMissing
}

// Codes in the bodies of services beside the session API.
const (
	codeInvalidParameter = "INVALID_PARAMETER" // Location
	codeInvalidAccess    = "INVALID_ACCESS"    // Hyper-Precise
	// prefixUnverified begins the message of a refused session in the Location
	// service. The code alone is that of ordinary errors as well.
	prefixUnverified = "UWS verification failure"
	// nameSessionService is how services call the session API in their prose.
	nameSessionService = "UWS"
)

// Fault codes of the API gateway beside those in errors.go.
const (
	FaultExpiredBearer  = "900903"
	FaultInactiveBearer = "900904"
	FaultNoResource     = "900906"
	FaultBlocked        = "900805"
)

// PublishedRefusal is one form in which a service refuses a request.
type PublishedRefusal struct {
	Name    string // for the simulation: "location"
	Service string
	Status  int
	Body    string
	Meaning Meaning
}

// Refusals lists the published forms, each with an example of its body.
var Refusals = []PublishedRefusal{
	{"session-expired", "session API", http.StatusBadRequest,
		`{"errorCode":"UnifiedWebService.REQUEST_FAILED.SessionToken.Expired","errorMessage":"A simulated refusal."}`,
		MeaningSessionExpired},
	{"session-invalid", "session API", http.StatusBadRequest,
		`{"errorCode":"UnifiedWebService.INPUT_INVALID.SessionToken.Invalid","errorMessage":"A simulated refusal."}`,
		MeaningSessionInvalid},
	{"session-missing", "session API", http.StatusBadRequest,
		`{"errorCode":"UnifiedWebService.REQUEST_FAILED.SessionToken.Format","errorMessage":"A simulated refusal."}`,
		MeaningSessionMissing},
	{"location", "Location", http.StatusBadRequest,
		`{"errorCode":"INVALID_PARAMETER","errorMessage":"UWS verification failure: a simulated refusal."}`,
		MeaningSessionExpired},
	{"diagnostics", "Diagnostics", http.StatusUnauthorized,
		`{"errorCode":"INVALID_ACCOUNT","errorMessage":"A simulated refusal: verify the UWS account."}`, MeaningToken},
	{"hyper-precise", "Hyper-Precise", http.StatusUnauthorized,
		`{"responseCode":"INVALID_ACCESS","message":"A simulated refusal."}`, MeaningBearer},
	{"numeric", "eSIM, SIM actions, reporting and anomaly detection", http.StatusUnauthorized,
		`{"errorCode":"401","errorMessage":"A simulated refusal."}`, MeaningToken},
	{"etx", "ETX", http.StatusUnauthorized,
		`{"error":"Unauthorized","description":"A simulated refusal."}`, MeaningToken},
	{"edge", "edge", http.StatusUnauthorized,
		`{"status":"401","message":"A simulated refusal."}`, MeaningToken},
	{"cloud-connector-session", "Cloud Connector", http.StatusBadRequest,
		`{"error":"unauthorized","error_description":"A simulated refusal. UWS V1 REST accounts: [400]","cause":"simulated"}`,
		MeaningSessionExpired},
	{"cloud-connector-bearer", "Cloud Connector", http.StatusUnauthorized,
		`{"error":"internal_server_error",` +
			`"error_description":"A simulated refusal. UWS V1 REST accounts: [401]","cause":"simulated"}`, MeaningBearer},
	{"cloud-connector-bearer-500", "Cloud Connector", http.StatusInternalServerError,
		`{"error":"internal_server_error",` +
			`"error_description":"A simulated refusal. UWS V1 REST accounts: [401]","cause":"simulated"}`, MeaningBearer},
	{"bearer-invalid", "API gateway", http.StatusUnauthorized,
		`{"fault":{"code":"900901","message":"Invalid Credentials","description":"A simulated refusal."}}`, MeaningBearer},
	{"bearer-missing", "API gateway", http.StatusUnauthorized,
		`{"fault":{"code":"900902","message":"Missing Credentials","description":"A simulated refusal."}}`, MeaningBearer},
	{"bearer-expired", "API gateway", http.StatusUnauthorized,
		`{"fault":{"code":"900903","message":"Access Token Expired","description":"A simulated refusal."}}`, MeaningBearer},
	{"bearer-inactive", "API gateway", http.StatusUnauthorized,
		`{"fault":{"code":"900904","message":"Access Token Inactive","description":"A simulated refusal."}}`, MeaningBearer},
	{"throttled", "API gateway", http.StatusTooManyRequests,
		`{"fault":{"code":"900802","message":"Message throttled out","description":"A simulated refusal."}}`,
		MeaningThrottled},
	{"blocked", "API gateway", http.StatusTooManyRequests,
		`{"fault":{"code":"900805","message":"Message blocked","description":"A simulated refusal."}}`, MeaningBlocked},
	{"no-resource", "API gateway", http.StatusBadRequest,
		`{"fault":{"code":"900906","message":"No matching resource found","description":"A simulated refusal."}}`,
		MeaningNoResource},
}

// FindRefusal returns the published form of a name.
func FindRefusal(name string) (PublishedRefusal, bool) {
	for _, form := range Refusals {
		if form.Name == name {
			return form, true
		}
	}
	return PublishedRefusal{}, false
}

// FaultMeaning returns the meaning of a fault of the API gateway. The code
// determines it, or else the status, which may be 0.
func FaultMeaning(status int, code string) Meaning {
	switch code {
	case FaultInvalidBearer, FaultNoBearer, FaultExpiredBearer, FaultInactiveBearer:
		return MeaningBearer
	case FaultBlocked:
		return MeaningBlocked
	case FaultNoResource, FaultNotFound:
		return MeaningNoResource
	}
	if number, ok := strings.CutPrefix(code, "90080"); ok && len(number) == 1 && number <= "7" && number >= "0" {
		return MeaningThrottled
	}
	switch status {
	case http.StatusUnauthorized:
		return MeaningBearer // the API gateway knows no other token
	case http.StatusTooManyRequests:
		return MeaningThrottled
	}
	return MeaningOther
}

// meaning decides what r means. It is called once, by ParseRefusal.
func (r *Refusal) meaning(status int) Meaning {
	switch r.Form {
	case FormFault:
		return FaultMeaning(status, r.Code)
	case FormResult:
		if m := resultMeaning(r.Code, r.Message, status); m != MeaningOther {
			return m
		}
	case FormOAuth:
		if m := wrappedMeaning(r.Code, r.Message+"\n"+r.Cause); m != MeaningOther {
			return m
		}
	}
	switch status {
	case http.StatusUnauthorized:
		if r.Form == FormResult && isOperationCode(CodeOf(r.Code)) {
			return MeaningOther // it is about a password, and no token
		}
		return MeaningToken
	case http.StatusTooManyRequests:
		return MeaningThrottled
	}
	return MeaningOther
}

func resultMeaning(code, message string, status int) Meaning {
	switch short := CodeOf(code); {
	case short == CodeTokenExpired:
		return MeaningSessionExpired
	case short == CodeTokenInvalid:
		return MeaningSessionInvalid
	case short == CodeTokenMissing:
		return MeaningSessionMissing
	case strings.EqualFold(string(short), codeInvalidParameter) &&
		(status == http.StatusBadRequest || status == http.StatusUnauthorized) && isUnverified(message):
		return MeaningSessionExpired
	case strings.EqualFold(string(short), codeInvalidAccess) && status == http.StatusUnauthorized:
		return MeaningBearer
	}
	return MeaningOther
}

// isUnverified reports whether a message begins with prefixUnverified.
func isUnverified(message string) bool {
	message = strings.TrimSpace(message)
	return len(message) >= len(prefixUnverified) && strings.EqualFold(message[:len(prefixUnverified)], prefixUnverified)
}

// isOperationCode reports whether code is about what a session operation was
// given, and not about the tokens.
func isOperationCode(code Code) bool {
	switch code {
	case CodeInvalidCredentials, CodeAccountLocked, CodePasswordMismatch, CodeRepeatKeyReused,
		CodeRequestUndefined, CodeInvalidCharacter, CodeDeserialization, CodeUnexpected:
		return true
	}
	return false
}

// wrappedMeaning finds the session API's refusal that a service wrapped into its
// own error. The published forms (Cloud Connector) say only that UWS, the session
// API, returned 400 or 401.
func wrappedMeaning(code, prose string) Meaning {
	code = strings.ToLower(code)
	switch {
	case code == "invalid_token": // RFC 6750, section 3.1
		return MeaningBearer
	case code != OAuthUnauthorized && code != OAuthInternal:
		return MeaningOther
	case strings.Contains(prose, string(CodeTokenInvalid)):
		return MeaningSessionInvalid
	case strings.Contains(prose, string(CodeTokenExpired)):
		return MeaningSessionExpired
	case !strings.Contains(prose, nameSessionService):
		return MeaningOther
	case strings.Contains(prose, "[401]"):
		return MeaningBearer
	case strings.Contains(prose, "[400]") && code == OAuthUnauthorized:
		return MeaningSessionExpired
	}
	return MeaningOther
}
