package main

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What the kernel says of a device becomes its node, and nothing outside /dev.
func TestParseNode(t *testing.T) {
	for _, tt := range []struct {
		uevent string
		want   node // without a name: none is made
	}{
		{"MAJOR=1\nMINOR=3\nDEVNAME=null\nDEVMODE=0666\n", node{"null", unix.S_IFCHR | 0o666, 1, 3}},
		{"MAJOR=10\nMINOR=200\nDEVNAME=net/tun\n", node{"net/tun", unix.S_IFCHR | 0o600, 10, 200}},
		{"MAJOR=4\nMINOR=65\nDEVNAME=ttyS1\nDEVMODE=07777\n", node{"ttyS1", unix.S_IFCHR | 0o777, 4, 65}},
		{"MAJOR=1\nMINOR=3\nDEVNAME=../etc/passwd\n", node{}},
		{"MAJOR=1\nMINOR=3\nDEVNAME=/etc/passwd\n", node{}},
		{"MAJOR=1\nMINOR=3\n", node{}},
		{"", node{}},
	} {
		got, ok := parseNode(tt.uevent, unix.S_IFCHR)
		if ok != (tt.want.name != "") || ok && got != tt.want {
			t.Errorf("%q: %+v, %v; want %+v", tt.uevent, got, ok, tt.want)
		}
	}
}
