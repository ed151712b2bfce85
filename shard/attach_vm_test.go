package shard

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Each kind of program is attached, or the result says what it lacks.
func TestAttach(t *testing.T) {
	for _, tt := range []struct{ name, source, glob string }{
		{"5.10", "debian:bullseye:cloud-amd64", "debian/5.10.*"},
		{"6.1", "debian:bookworm:cloud-amd64", "debian/6.1.*"},
		{"6.12", "debian:trixie:cloud-amd64", "debian/6.12.*"},
		{"7.x", "debian:sid:cloud-amd64", "debian/7.*"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := theLab(t)
			p, err := guest.ObjectsPayload(t.Context(), "amd64", []string{"../guest/loader/testdata/attach/attach.bpf.o"}, true, wire.TestSkip, 20*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			probed := filepath.Join(t.TempDir(), "probed")
			cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", probed, "./testdata/ondemand")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
			if b, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, b)
			}
			b, err := os.ReadFile(probed)
			if err != nil {
				t.Fatal(err)
			}
			p.Files = append(p.Files, guest.File{Path: "/probed", Mode: 0o755, Data: b})
			k, _ := l.run(t, l.runner(t, p), newestOf(t, tt.source, tt.glob))
			var all strings.Builder
			for _, test := range k.Tests {
				first, _, _ := strings.Cut(test.Output, "\n")
				all.WriteString(test.Name + ": " + test.Verdict + " " + first + "\n")
			}
			t.Log(k.Verdict, k.Cause, k.Problems, k.Modules)
			os.WriteFile("/tmp/attach-"+tt.name, []byte(all.String()), 0o644)
		})
	}
}
