package main

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// features is what the ready line tells.
type features struct {
	trampolines bool // BPF trampolines: fentry and fexit
	ipv6        bool
}

// readyLine is byte for byte EventsTrace's, which some readers compare so.
func (f features) readyLine() string {
	return fmt.Sprintf(`{"probes_initialized": true, "features": {"bpf_tramp": %t,"ipv6": %t}}`+"\n",
		f.trampolines, f.ipv6)
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
