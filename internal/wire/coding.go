package wire

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf16"
)

const (
	headerContentEncoding = "Content-Encoding"
	// maxCodings bounds how many content codings are undone, one over the other.
	maxCodings = 4
)

// errCoding means that a body is in a content coding that cannot be undone.
var errCoding = errors.New("the content coding cannot be undone")

// Decode undoes the content codings of a body that header names: gzip, deflate
// (with and without the header of zlib) and identity, in any case (RFC 9110,
// section 8.4.1). What is gzip by its first bytes is undone as such, whatever header
// says: http.Transport removes all codings from it when it undoes one. Decode returns
// at most limit bytes. With an error it returns what could be decoded, or body itself if
// that is nothing.
func Decode(header http.Header, body []byte, limit int64) ([]byte, error) {
	if len(body) == 0 {
		return body, nil
	}
	var codings []string
	for _, coding := range elements(header[headerContentEncoding]) {
		coding, _, _ = strings.Cut(coding, ";") // it has no parameters, but some write them
		if coding = strings.TrimSpace(coding); coding != "identity" {
			codings = append(codings, coding)
		}
	}
	if len(codings) == 0 && isGzip(body) {
		codings = []string{"gzip"}
	}
	if len(codings) > maxCodings {
		return body, errCoding
	}
	text := body
	for _, coding := range slices.Backward(codings) {
		reader := decoder(coding, text)
		if reader == nil {
			return body, errCoding
		}
		decoded, err := io.ReadAll(io.LimitReader(reader, limit))
		if err != nil && len(decoded) == 0 || errors.As(err, new(flate.CorruptInputError)) {
			return body, errCoding
		}
		text = decoded
		if err != nil {
			return text, errCoding
		}
	}
	return text, nil
}

func isGzip(body []byte) bool { return bytes.HasPrefix(body, []byte("\x1f\x8b\x08")) }

// elements splits header values that are lists, in lower case.
func elements(values []string) (list []string) {
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			if element = strings.ToLower(strings.TrimSpace(element)); element != "" {
				list = append(list, element)
			}
		}
	}
	return list
}

// decoder returns what undoes a coding, or nil.
func decoder(coding string, body []byte) io.Reader {
	if coding == "deflate" && isGzip(body) {
		coding = "gzip"
	}
	switch coding {
	case "gzip", "x-gzip":
		if reader, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
			reader.Multistream(false) // what follows the stream is ignored
			return reader
		}
	case "deflate":
		if reader, err := zlib.NewReader(bytes.NewReader(body)); err == nil {
			return reader
		}
		return flate.NewReader(bytes.NewReader(body)) // as some servers send it
	}
	return nil
}

// ReduceCodings returns the values of an Accept-Encoding header without the
// codings that Decode cannot undo, and whether any was removed. No values are
// none afterwards as well.
func ReduceCodings(values []string) (reduced string, changed bool) {
	if len(values) == 0 || len(values) == 1 && isCommon(values[0]) {
		return "", false
	}
	offers := elements(values)
	named := map[string]bool{}
	for _, offer := range offers {
		coding, _, _ := strings.Cut(offer, ";")
		named[strings.TrimSpace(coding)] = true
	}
	var kept []string
	accepts := false
	keep := func(coding, weight string) {
		kept = append(kept, coding+weight)
		accepts = accepts || !isZero(weight)
	}
	for _, offer := range offers {
		coding, weight, weighted := strings.Cut(offer, ";")
		coding, weight = strings.TrimSpace(coding), strings.TrimSpace(weight)
		if weighted {
			weight = ";" + weight
		}
		switch coding {
		case "gzip", "x-gzip", "deflate", "identity":
			keep(coding, weight)
		case "*":
			if isZero(weight) {
				kept = append(kept, "*"+weight)
				continue
			}
			changed = true
			for _, known := range []string{"gzip", "deflate", "identity"} {
				if !named[known] {
					keep(known, weight)
				}
			}
		default:
			changed = true
		}
	}
	if !changed {
		return "", false
	}
	if !accepts {
		// The caller accepts nothing of what is left. A server sends the body as
		// it is then, rather than an error.
		return "identity", true
	}
	return strings.Join(kept, ", "), true
}

// isCommon reports whether value is one of the usual ones that need no change.
func isCommon(value string) bool {
	return value == "gzip" || value == "identity" || value == "gzip, deflate" || value == "gzip,deflate" || value == ""
}

// isZero reports whether a weight, ";q=0.000" for one, excludes its coding.
func isZero(weight string) bool {
	value, ok := strings.CutPrefix(strings.ReplaceAll(strings.TrimPrefix(weight, ";"), " ", ""), "q=")
	return ok && value != "" && strings.Trim(value, "0.") == ""
}

// Text returns body as UTF-8 without byte order marks at its beginning. A body in UTF-16
// is converted, if it begins with a mark or, as an object or a document does, with an
// ASCII character.
func Text(body []byte) []byte {
	text := fromUnicode(body)
	for {
		rest, marked := bytes.CutPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte(ByteOrderMark))
		if !marked {
			return text
		}
		text = rest
	}
}

// fromUnicode converts body to UTF-8 if it is UTF-16.
func fromUnicode(body []byte) []byte {
	switch {
	case bytes.HasPrefix(body, []byte("\xff\xfe")):
		return fromUTF16(body[2:], 1, 0)
	case bytes.HasPrefix(body, []byte("\xfe\xff")):
		return fromUTF16(body[2:], 0, 1)
	case len(body) >= 4 && body[0] != 0 && body[1] == 0 && body[2] != 0 && body[3] == 0:
		return fromUTF16(body, 1, 0)
	case len(body) >= 4 && body[0] == 0 && body[1] != 0 && body[2] == 0 && body[3] != 0:
		return fromUTF16(body, 0, 1)
	}
	return body
}

// fromUTF16 converts body, whose units have their high and low byte at these
// offsets.
func fromUTF16(body []byte, high, low int) []byte {
	units := make([]uint16, 0, len(body)/2)
	for ; len(body) >= 2; body = body[2:] {
		units = append(units, uint16(body[high])<<8|uint16(body[low]))
	}
	return []byte(string(utf16.Decode(units)))
}
