package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github/githubtest"
)

// doctorJob runs doctor --github in a job, and returns what it says by row.
func doctorJob(t *testing.T, env map[string]string) (rows map[string]string, all string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"doctor", "--github", "--cache", t.TempDir()}, nil, &stdout, &stderr, func(name string) string { return env[name] })
	if code != report.ExitPass && code != report.ExitNotTested || stderr.Len() > 0 { // without QEMU
		t.Fatalf("exit code %d\n%s", code, &stderr)
	}
	rows = map[string]string{}
	for line := range strings.Lines(stdout.String()) {
		f := regexp.MustCompile(` {2,}`).Split(strings.TrimSpace(line), 2)
		if len(f) == 2 {
			rows[f[0]] = f[1]
		}
	}
	return rows, stdout.String()
}

func TestDoctorGitHub(t *testing.T) {
	gh := githubtest.New(t)
	answer, headers := http.StatusOK, http.Header{"X-Accepted-Github-Permissions": {"metadata=read"}}
	gh.Script = func(method, path string) (int, http.Header, string) {
		if method != http.MethodGet || path != "/repos/octo/probe" {
			t.Errorf("%s %s: want one that changes nothing", method, path)
		}
		return answer, headers, `{"private": true, "message": "Resource not accessible by integration"}`
	}
	server := httptest.NewServer(gh)
	t.Cleanup(server.Close)
	event := filepath.Join(t.TempDir(), "event.json")
	put(t, event, `{"pull_request":{"head":{"repo":{"full_name":"mallory/probe"}}},"repository":{"full_name":"octo/probe"}}`)
	env := map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://me:hunter2@github.com", "GITHUB_API_URL": server.URL, "GITHUB_REPOSITORY": "octo/probe",
		"GITHUB_RUN_ID": "500", "GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": event, "GITHUB_TOKEN": "secret",
		"ImageOS": "ubuntu24", "ImageVersion": "20261101.1\n::error::x\x1b[31m" + strings.Repeat("9", 500), "RUNNER_ENVIRONMENT": "github-hosted", "RUNNER_OS": "Linux", "RUNNER_ARCH": "X64",
	}
	rows, all := doctorJob(t, env)
	for row, want := range map[string]string{
		"runner":         `^image ubuntu24 20261101\.1 ::error::x9{60,90}\.\.\., github-hosted, Linux X64$`,
		"runner version": `^not told to a step`,
		"server":         `^GitHub, github\.com$`,
		"event":          `^pull_request, of a fork$`,
		"token":          `^reads the repository, which is private; X-Accepted-GitHub-Permissions: metadata=read; what it may stands under`,
		"services":       `^GitHub tells a run step of neither`,
		"container":      `^(true|false)$`,
		"kvm":            `^/dev/kvm: (mode 0\d{3}, group \d+|no such file)`,
		"version":        regexp.QuoteMeta(version()),
		"accel":          `^(kvm|tcg)`,
		"memory":         `MiB available`,
		"scratch":        `MiB free$`,
	} {
		if !regexp.MustCompile(want).MatchString(rows[row]) {
			t.Errorf("%s is %q, want %s", row, rows[row], want)
		}
	}
	for _, never := range []string{"secret", "hunter2", "octo/", "mallory", "\x1b", "\n::"} {
		if strings.Contains(all, never) {
			t.Errorf("it says %q:\n%s", never, all)
		}
	}

	for name, tt := range map[string]struct {
		set       map[string]string
		answer    int
		row, want string
	}{
		"refused":       {nil, http.StatusForbidden, "token", "does not read the repository: 403 Resource not accessible by integration: give the job `permissions: contents: read`"},
		"bad token":     {nil, http.StatusUnauthorized, "token", "the token is not valid"},
		"no token":      {map[string]string{"GITHUB_TOKEN": ""}, 200, "token", "none: give the step GITHUB_TOKEN"},
		"no repository": {map[string]string{"GITHUB_REPOSITORY": "a b"}, 200, "token", `unknown: GITHUB_REPOSITORY is "a b"`},
		"own branch":    {map[string]string{"GITHUB_EVENT_NAME": "push"}, 200, "event", "push, of no fork"},
		"no event":      {map[string]string{"GITHUB_EVENT_PATH": "/none"}, 200, "event", "pull_request; whether it is a fork's is unknown: open /none"},
		"forgejo":       {map[string]string{"FORGEJO_ACTIONS": "true", "GITEA_ACTIONS": "true", "GITHUB_SERVER_URL": "https://codeberg.org"}, 200, "server", "Forgejo, codeberg.org"},
		"gitea":         {map[string]string{"GITEA_ACTIONS": "true", "GITEA_ACTIONS_RUNNER_VERSION": "v0.3"}, 200, "runner version", "v0.3"},
		"server":        {map[string]string{"GITHUB_SERVER_URL": "https://git.example.org"}, 200, "server", "GitHub Enterprise Server or another, git.example.org"},
		"services":      {map[string]string{"ACTIONS_RESULTS_URL": "https://secret"}, 200, "services", "ACTIONS_RESULTS_URL is set"},
	} {
		answer = tt.answer
		job := map[string]string{}
		for k, v := range env {
			job[k] = v
		}
		for k, v := range tt.set {
			job[k] = v
		}
		rows, all := doctorJob(t, job)
		if !strings.HasPrefix(rows[tt.row], tt.want) && !(name == "bad token" && strings.Contains(rows[tt.row], tt.want)) {
			t.Errorf("%s: %s is %q, want %q", name, tt.row, rows[tt.row], tt.want)
		}
		if strings.Contains(all, "secret") || strings.Contains(all, "octo/") {
			t.Errorf("%s: it shows a secret, or the repository:\n%s", name, all)
		}
	}
}

// Who may open the device, and by what rule.
func TestKVMWords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	device, rule := filepath.Join(dir, "kvm"), filepath.Join(dir, "99-x.rules")
	put(t, rule, `KERNEL=="kvm", MODE="0666"`)
	put(t, filepath.Join(dir, "70-other.rules"), `KERNEL=="tty"`)
	if got := kvmWords(device, dir); got != device+": no such file or directory" {
		t.Errorf("%q", got)
	}
	put(t, device, "")
	if err := os.Chmod(device, 0o660); err != nil {
		t.Fatal(err)
	}
	if got := kvmWords(device, dir); !strings.HasPrefix(got, device+": mode 0660, group ") || !strings.HasSuffix(got, ", the rule "+rule) {
		t.Errorf("%q", got)
	}
}

// With debug logging on, a job says it by itself, in a group, and goes on.
func TestDebugJob(t *testing.T) {
	for debug, want := range map[string]bool{"1": true, "": false} {
		temp := t.TempDir()
		env := map[string]string{
			"GITHUB_ACTIONS": "true", "RUNNER_DEBUG": debug, "RUNNER_TEMP": temp, "GITHUB_OUTPUT": filepath.Join(temp, "output"),
			"INPUTS_FILE": filepath.Join(temp, "inputs.json"),
		}
		put(t, env["INPUTS_FILE"], `{"kernels": "`+temp+`", "test": "./none"}`)
		var stdout, stderr bytes.Buffer
		t.Setenv("PATH", idleQEMU(t))
		code := run(t.Context(), []string{"action", "run"}, nil, &stdout, &stderr, func(name string) string { return env[name] })
		if code != report.ExitUsage {
			t.Errorf("exit code %d\n%s", code, &stderr)
		}
		got := regexp.MustCompile(`(?ms)^::group::bpf-kernel-check doctor --github\nrunner +image .*^qemu .*^::endgroup::$`).MatchString(stdout.String())
		if got != want {
			t.Errorf("RUNNER_DEBUG=%s: %s", debug, &stdout)
		}
	}
}

// The step that the document has is one that works, and the form asks for what it
// prints.
func TestDoctorDocuments(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(repository, ".github/docs/troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^  run: '(.*)'$`).FindSubmatch(text)
	if m == nil {
		t.Fatal("troubleshooting.md has no step")
	}
	for dir, program := range map[string]string{
		"RUNNER_TOOL_CACHE": "bpf-kernel-check/x y/bpf-kernel-check", // released
		"RUNNER_TEMP":       "bpf-kernel-check-program-source-x-amd64/bpf-kernel-check",
	} {
		tools := t.TempDir()
		put(t, filepath.Join(tools, program), "#!/bin/sh\necho \"asked $*\"\n")
		cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c", string(m[1]))
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), dir + "=" + tools}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "asked doctor --github\n" {
			t.Errorf("%s: %v\n%s", dir, err, out)
		}
	}
	form, err := os.ReadFile(filepath.Join(repository, ".github/ISSUE_TEMPLATE/bug.yml"))
	if err != nil || !bytes.Contains(form, []byte("doctor --github")) {
		t.Errorf("bug.yml does not ask for it: %v", err)
	}
}
