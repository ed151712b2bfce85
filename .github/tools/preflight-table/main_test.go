package main

import (
	"strings"
	"testing"
)

// What the verifier refuses is nothing that was said.
func TestWrong(t *testing.T) {
	x := table{programs: 30, all: counts{yesRight: 2, yesWrong: 1, noRight: 1, verifier: 20, unknown: 6}}
	if s := x.String(); !strings.Contains(s, " 25.00 % was wrong") {
		t.Error(s)
	}
}
