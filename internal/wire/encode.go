package wire

import (
	"bytes"
	"encoding/json"
)

// Marshal is json.Marshal without the escapes for HTML: < > and & stay as they are,
// because people read the result as well.
func Marshal(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}
