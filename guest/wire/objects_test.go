package wire

import (
	"strings"
	"testing"
)

// Of several patterns, one that leaves out wins.
func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		patterns, program string
		want              Choice
	}{
		{"on_*", "on_exit", Chosen},
		{"on_*", "exit", LeftOut},
		{"on_* exit", "exit", Chosen},
		{"!on_*", "exit", ByDefault},
		{"", "exit", ByDefault},
		{"!on_*", "on_exit", LeftOut},
		{"on_* !on_exit", "on_exit", LeftOut},
		{"!on_exit on_*", "on_exit", LeftOut},
		{"probe/on_*", "on_exit", Chosen},
		{"other/on_*", "on_exit", LeftOut},
		{"probe/*", "on_exit", Chosen},
		{"*/on_exit", "on_exit", Chosen},
	} {
		if got := (ObjectSettings{Programs: strings.Fields(tt.patterns)}).Choose("probe", tt.program); got != tt.want {
			t.Errorf("%s: %s: %v, want %v", tt.patterns, tt.program, got, tt.want)
		}
	}
}
