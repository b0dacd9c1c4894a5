package cli

import (
	"bytes"
	"io"
)

// StandardLog returns a writer to w for package log, where net/http reports what a
// server has sent beyond its response. That report quotes it, up to the 16 KiB that were
// read, and a token or a customer's data may be in it; the quotation is left out.
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
