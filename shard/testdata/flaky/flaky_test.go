// Package flaky has tests that fail in a first run and, as MODE has it, do something
// else when they run again: they know a rerun by the filter that selects them.
package flaky

import (
	"flag"
	"os"
	"testing"
	"time"
)

func again() bool { return flag.Lookup("test.run").Value.String() != "" }

func TestPasses(t *testing.T) {
	if again() {
		t.Error("it passed, and runs again")
	}
}

func TestFlaky(t *testing.T) {
	t.Run("sub", func(t *testing.T) {
		if !again() {
			t.Fatal("the first run")
		}
		switch os.Getenv("MODE") {
		case "skip":
			t.Skip("the second run")
		case "fail":
			t.Fatal("the second run")
		case "crash":
			if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
	})
}
