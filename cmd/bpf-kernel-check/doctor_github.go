package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// examineJob says what a bug report needs to know of the job. It names neither
// the repository nor the run, which may be private.
func (c *command) examineJob(ctx context.Context, t *checkup) error {
	if c.getenv("GITHUB_ACTIONS") != "true" {
		return usagef("--github is for a step of a workflow: GITHUB_ACTIONS is not true here")
	}
	is := func(name string) string { return cmp.Or(report.OneLine(c.getenv(name), 100), "unknown") }
	t.row("runner", "image %s %s, %s, %s %s", is("ImageOS"), is("ImageVersion"), is("RUNNER_ENVIRONMENT"), is("RUNNER_OS"), is("RUNNER_ARCH"))
	t.row("runner version", "%s", cmp.Or(report.OneLine(c.getenv("GITEA_ACTIONS_RUNNER_VERSION"), 100), // Forgejo's, too
		`not told to a step: see "Current runner version" in the log of "Set up job"`))
	t.row("server", "%s", serverWords(c.getenv))

	env, envErr := github.ReadEnv(c.getenv)
	switch fork, err := github.FromFork(env); {
	case err != nil:
		t.row("event", "%s; whether it is a fork's is unknown: %v", is("GITHUB_EVENT_NAME"), err)
	case fork:
		t.row("event", "%s, of a fork", is("GITHUB_EVENT_NAME"))
	default:
		t.row("event", "%s, of no fork", is("GITHUB_EVENT_NAME"))
	}
	if envErr != nil {
		t.row("token", "unknown: %v", envErr)
	} else {
		t.row("token", "%s", github.DescribeToken(ctx, env, http.DefaultTransport))
	}
	services := "GitHub tells a run step of neither cache nor artifacts: see the steps that use them"
	for _, name := range []string{"ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL"} { // of other servers
		if c.getenv(name) != "" {
			services = name + " is set"
		}
	}
	t.row("services", "%s", services)
	t.row("container", "%v", qemu.InContainer())
	t.row("kvm", "%s", kvmWords(qemu.DefaultKVM, "/etc/udev/rules.d", "/run/udev/rules.d"))
	return nil
}

// serverWords names the server that runs the workflow: what works differs.
func serverWords(getenv func(string) string) string {
	host := "unknown"
	if u, err := url.Parse(getenv("GITHUB_SERVER_URL")); err == nil && u.Host != "" {
		host = report.OneLine(u.Host, 100) // a URL can hold a password
	}
	switch {
	case getenv("FORGEJO_ACTIONS") == "true": // it says to be Gitea, too
		return "Forgejo, " + host
	case getenv("GITEA_ACTIONS") == "true":
		return "Gitea, " + host
	case getenv("ACT") == "true":
		return "act, " + host
	case host == "github.com", strings.HasSuffix(host, ".ghe.com"):
		return "GitHub, " + host
	}
	return "GitHub Enterprise Server or another, " + host
}

// kvmWords says who may open the device, and which rules change that. Whether it
// works is another row's.
func kvmWords(device string, rules ...string) string {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return fmt.Sprintf("%s: %v", device, err)
	}
	words := fmt.Sprintf("%s: mode %04o, group %d", device, st.Mode&0o7777, st.Gid)
	if n, err := unix.Getxattr(device, "system.posix_acl_access", nil); err == nil && n > 0 {
		words += ", an ACL"
	}
	for _, dir := range rules {
		files, _ := filepath.Glob(filepath.Join(dir, "*.rules"))
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(`KERNEL=="kvm"`)) {
				words += ", the rule " + f
			}
		}
	}
	return words
}

// debugJob prints what doctor --github does in a job whose debug logging is on,
// where nobody has to change a workflow for it.
func (c *command) debugJob(ctx context.Context) {
	if c.getenv("RUNNER_DEBUG") != "1" || c.getenv("GITHUB_ACTIONS") != "true" {
		return
	}
	_ = c.log.Raw("::group::bpf-kernel-check doctor --github\n")
	if err := c.checkUp(func(t *checkup) error { defer c.examine(ctx, t); return c.examineJob(ctx, t) }); err != nil {
		fmt.Fprintln(c.stdout, report.OneLine(err.Error(), 500))
	}
	_ = c.log.Raw("::endgroup::\n")
}
