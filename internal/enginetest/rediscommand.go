package enginetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// command sends one command to a Redis over a new connection and returns the result. It supports
// only results that are lines or strings.
func command(ctx context.Context, address string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(end)
	}
	request := fmt.Sprintf("*%d\r\n", len(arguments))
	for _, argument := range arguments {
		request += fmt.Sprintf("$%d\r\n%s\r\n", len(argument), argument)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	replies := bufio.NewReader(conn)
	line, err := replies.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return "", errors.New("empty reply")
	}
	switch kind, rest := line[0], line[1:]; kind {
	case '+', ':':
		return rest, nil
	case '-':
		return "", errors.New(rest)
	case '$':
		length, err := strconv.Atoi(rest)
		if err != nil || length < 0 {
			return "", err
		}
		text := make([]byte, length)
		_, err = io.ReadFull(replies, text)
		return string(text), err
	}
	return "", fmt.Errorf("unexpected reply: %q", line)
}

// field returns the value of a name:value line.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
