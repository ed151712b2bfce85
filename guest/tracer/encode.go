package main

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// readyLine is byte for byte EventsTrace's, which some readers compare so.
func readyLine(trampolines, ipv6 bool) string {
	return fmt.Sprintf(`{"probes_initialized": true, "features": {"bpf_tramp": %t,"ipv6": %t}}`+"\n", trampolines, ipv6)
}

// encodeLine returns v as one line of JSON, newline included. Bytes that are
// not UTF-8 become U+FFFD.
func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // command lines are full of < and &
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return b.Bytes(), nil
}
