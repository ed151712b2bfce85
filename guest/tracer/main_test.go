package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	tests := []struct {
		name, args, fault string
		code              int
		stdout, stderr    string // must be contained
	}{
		{"help", "--help", "", exitOK, "--file-create", ""},
		{"unknown option", "--nonsense", "", exitUsage, "", `unknown flag: --nonsense`},
		{"unknown fault", "-a", "nonsense", exitUsage, "", `"nonsense": unknown fault`},
		{"die at start", "-a -i", "die-at-start", exitFail, "", "libbpf: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr, tt.fault)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !strings.Contains(stdout.String(), tt.stdout) || tt.stdout == "" && stdout.Len() > 0 {
				t.Errorf("stdout %q, want %q", stdout.String(), tt.stdout)
			}
			if !strings.Contains(stderr.String(), tt.stderr) || tt.stderr == "" && stderr.Len() > 0 {
				t.Errorf("stderr %q, want %q", stderr.String(), tt.stderr)
			}
		})
	}
}
