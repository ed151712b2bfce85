package apt

import (
	"context"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// One look at the real archive, at its smallest suite that has kernels.
func TestDebianMirror(t *testing.T) {
	if testing.Short() {
		t.Skip("asks a Debian mirror for a package list; -short was given")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("apt-get is not installed: this is no Debian or Ubuntu host")
	}
	ctx := context.Background()
	mirrors, err := publicDebian().hostMirrors(ctx, kerneltest.NewCache(t), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(mirrors.main)
	if err != nil {
		t.Fatal(err)
	}
	port := u.Port()
	if port == "" {
		port = u.Scheme
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(u.Hostname(), port), 5*time.Second)
	if err != nil {
		t.Skipf("the mirror %s cannot be reached: %v", u, err)
	}
	conn.Close()
	c := kerneltest.NewCache(t)
	c.Warn = func(s string) { t.Log(s) }
	refs := kerneltest.List(t, kerneltest.Parse(t, "debian:bookworm-backports:cloud-amd64", c, ParseDebian))
	for _, r := range refs {
		if !strings.HasSuffix(r.Release, "-cloud-amd64") || r.Arch != "amd64" || r.Size < 1<<20 {
			t.Errorf("%+v", r)
		}
	}
}
