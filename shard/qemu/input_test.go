package qemu

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The line of the results, which may be the console, has an input; the other one
// stays as it is.
func TestInput(t *testing.T) {
	for _, tt := range []struct{ arch, input, other string }{
		{"amd64", "results", "console"},
		{"arm64", "console", ""},
	} {
		a, err := LookupArch(tt.arch)
		if err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		m := Machine{Arch: a, Accel: TCG}
		without := strings.Join(m.Args(), " ")
		m.Input = r
		line := strings.Join(m.Args(), " ")
		if !strings.Contains(line, " -chardev stdio,id="+tt.input+",signal=off -serial chardev:"+tt.input) || strings.Contains(line, "file,id="+tt.input) {
			t.Errorf("%s: %s", tt.arch, line)
		}
		if tt.other != "" && !strings.Contains(line, "-chardev file,id="+tt.other) || strings.Contains(without, "stdio") {
			t.Errorf("%s: %s\nwithout: %s", tt.arch, line, without)
		}
		go func() { _, _ = w.WriteString("to the guest"); w.Close() }()
		var con, res bytes.Buffer
		if _, err := Run(t.Context(), script(t, "echo console >&3; cat"), m, &con, &res); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{"console": strings.ReplaceAll(con.String(), "console\n", ""), "results": res.String()}
		if got[tt.input] != "to the guest" || tt.other != "" && got[tt.other] != "" {
			t.Errorf("%s: %q", tt.arch, got)
		}
		if _, err := r.Stat(); err == nil {
			t.Errorf("%s: Run does not close the input", tt.arch)
		}
	}
}
