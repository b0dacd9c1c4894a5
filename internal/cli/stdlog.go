package cli

import (
	"bytes"
	"io"
)

// StandardLog returns a writer for package log that writes to w. net/http reports there
// what a server has sent after its response, and quotes up to 16 KiB of it, which may
// contain a token or a customer's data. StandardLog omits the quotation.
func StandardLog(w io.Writer) io.Writer { return standardLog{w} }

type standardLog struct{ io.Writer }

// Write implements io.Writer.
func (s standardLog) Write(line []byte) (int, error) {
	before, _, quotes := bytes.Cut(line, []byte(" starting with "))
	if !quotes {
		return s.Writer.Write(line)
	}
	if _, err := s.Writer.Write(append(bytes.Clone(before), " (not shown)\n"...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
