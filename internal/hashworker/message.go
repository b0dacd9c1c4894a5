package hashworker

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/latchkey/latchkey/internal/authority"
)

// greeting is the first that the process writes. Its number is the version of the messages.
const greeting = "latchkey hash 1\n"

// A request has its length without these four bytes, a number, the parameters, the sizes of
// the sum and of the salt, the salt and the password. A response has the number, the size of
// the sum, and the sum.
const (
	requestHead    = 8 + 4 + 4 + 1 + 1 + 1
	longestRequest = 16 << 10
)

// encodeRequest returns a request whose number is not set, or false if it would be too long.
func encodeRequest(p authority.HashParams, password, salt []byte, size uint32) ([]byte, bool) {
	length := requestHead + len(salt) + len(password)
	if size > 255 || len(salt) > 255 || length > longestRequest {
		return nil, false
	}
	b := make([]byte, 0, 4+length)
	b = binary.BigEndian.AppendUint32(b, uint32(length)) // at most longestRequest
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint32(b, p.MemoryKiB)
	b = binary.BigEndian.AppendUint32(b, p.Passes)
	b = append(b, p.Lanes, byte(size), byte(len(salt))) //nolint:gosec // both were checked
	return append(append(b, salt...), password...), true
}

// readRequest reads a request without its length.
func readRequest(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length < requestHead || length > longestRequest {
		return nil, errors.New("a request has an impossible length")
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	if int(b[requestHead-1]) > len(b)-requestHead {
		return nil, errors.New("a request is shorter than its salt")
	}
	return b, nil
}

// respond returns the response to a request, and clears the request.
func respond(request []byte) []byte {
	defer clear(request)
	p := authority.HashParams{
		MemoryKiB: binary.BigEndian.Uint32(request[8:]), Passes: binary.BigEndian.Uint32(request[12:]), Lanes: request[16],
	}
	size, salt, password := request[17], request[requestHead:][:request[18]], request[requestHead+int(request[18]):]
	response := append(make([]byte, 0, 9+int(size)), request[:8]...)
	return append(append(response, size), p.Sum(password, salt, uint32(size))...)
}

// readResponse reads a response.
func readResponse(r io.Reader) (uint64, []byte, error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	sum := make([]byte, head[8])
	_, err := io.ReadFull(r, sum)
	return binary.BigEndian.Uint64(head[:]), sum, err
}
