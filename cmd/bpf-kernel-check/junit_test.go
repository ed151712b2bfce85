package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The settings of one program come before the flags for all.
func TestJUnitOfPrograms(t *testing.T) {
	s, err := parseTest("name=a framework=gtest junit=/x.xml junit=y.xml -- prog -x")
	if err != nil || s.framework != "gtest" {
		t.Fatalf("%+v, %v", s, err)
	}
	if d := cmp.Diff([]string{"/x.xml", "y.xml"}, s.junit); d != "" {
		t.Error(d)
	}
	if got, want := s.shown(), "name=a framework=gtest junit=/x.xml junit=y.xml -- prog -x"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, bad := range []string{"framework=gtst -- prog", "framework= -- prog"} {
		if _, err := parseTest(bad); err == nil || !strings.Contains(err.Error(), "want bats, boost") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
