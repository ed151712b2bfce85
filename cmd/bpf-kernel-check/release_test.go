package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// script runs one of .github/scripts in a tree, and returns what it printed.
func script(t *testing.T, tree string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(tree, ".github/scripts", name), args...)
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// scriptTree is a tree that holds a script, and files.
func scriptTree(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	tree := t.TempDir()
	b, err := os.ReadFile(filepath.Join(repository, ".github/scripts", name))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(tree, ".github/scripts", name), string(b))
	for path, text := range files {
		put(t, filepath.Join(tree, path), text)
	}
	return tree
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A program that is not the one of the checksum never gets to run.
func TestGetProgram(t *testing.T) {
	t.Parallel()
	const good = "#!/bin/sh\necho good\n"
	asset := "bpf-kernel-check-v1.2.3-linux-" + runtime.GOARCH
	const evil = "#!/bin/sh\necho evil\n"
	other := sumOf(evil) + "  bpf-kernel-check-v1.2.3-linux-riscv64"
	for name, tt := range map[string]struct {
		sums   string // of the tree; "": it is no release's
		served string
		cut    int    // as many bytes are missing from the end of each answer
		plain  bool   // it is served as it is, not compressed
		cached string // in the tool cache before
		want   string // the error; "": there is none
		asked  bool   // for the program
		build  string
	}{
		"released":       {sums: sumOf(good) + "  " + asset, served: good, asked: true, build: "false"},
		"for others too": {sums: other + "\n" + sumOf(good) + "  " + asset, served: good, asked: true, build: "false"},
		"from the cache": {sums: sumOf(good) + "  " + asset, cached: good, build: "false"},
		"tampered":       {sums: sumOf(good) + "  " + asset, served: evil, asked: true, want: "is not the file whose checksum"},
		"empty":          {sums: sumOf(good) + "  " + asset, served: " ", asked: true, want: "is not the file whose checksum"},
		"cut short":      {sums: sumOf(good) + "  " + asset, served: good, cut: 3, asked: true, want: "no download of http://"},
		"tampered cache": {sums: sumOf(good) + "  " + asset, served: good, cached: evil, want: "is not the file whose checksum"},
		"no gzip":        {sums: sumOf(good) + "  " + asset, served: good, plain: true, asked: true, want: "is not the file whose checksum"},
		"not there":      {sums: sumOf(good) + "  " + asset, asked: true, want: "set BPF_KERNEL_CHECK_DOWNLOADS to a mirror"},
		"no release":     {served: good, build: "true"},
		"another's sum":  {sums: other, served: good, build: "true"},
		// Of two programs the one's sum must not go with the other's name.
		"two programs":   {sums: sumOf(evil) + "  bpf-kernel-check-v1.2.2-linux-" + runtime.GOARCH + "\n" + sumOf(good) + "  " + asset, served: good, want: "several programs"},
		"a path":         {sums: sumOf(good) + "  ../../" + asset, served: good, want: "no checksum of a release"},
		"one line more":  {sums: sumOf(good) + "  " + asset + "\n$(touch /tmp/x)", served: good, want: "no checksum of a release"},
		"a carriage":     {sums: sumOf(good) + "  " + asset + "\r", served: good, want: "no checksum of a release"},
		"a short sum":    {sums: sumOf(good)[:63] + "  " + asset, served: good, want: "no checksum of a release"},
		"a blank line":   {sums: sumOf(good) + "  " + asset + "\n", served: good, want: "no checksum of a release"},
		"one space":      {sums: sumOf(good) + " " + asset, served: good, want: "no checksum of a release"},
		"upper case":     {sums: strings.ToUpper(sumOf(good)) + "  " + asset, served: good, want: "no checksum of a release"},
		"another format": {sums: "SHA256 (" + asset + ") = " + sumOf(good), served: good, want: "no checksum of a release"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // curl waits between its attempts
			files := map[string]string{"go.mod": "x", "go.sum": "", "Makefile": "", "cmd/a.go": "", "guest/a.go": "", "report/a.go": "", "shard/a.go": ""}
			if tt.sums != "" {
				files[".github/checksums.txt"] = tt.sums + "\n"
			}
			tree := scriptTree(t, "get-program", files)
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if tt.served == "" || r.URL.Path != "/v1.2.3/"+asset+".gz" {
					http.NotFound(w, r)
					return
				}
				body := tt.served
				if !tt.plain {
					body = gzipped(t, tt.served)
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				io.WriteString(w, body[:len(body)-tt.cut]) //nolint:errcheck // cut short on purpose
			}))
			t.Cleanup(server.Close)
			tools, output := t.TempDir(), filepath.Join(t.TempDir(), "output")
			if tt.cached != "" {
				put(t, filepath.Join(tools, "bpf-kernel-check", sumOf(good), "bpf-kernel-check"), tt.cached)
			}
			put(t, filepath.Join(tools, ".curlrc"), "retry-delay = 1\n") // instead of 1, 2 and 4 s
			env := []string{"CURL_HOME=" + tools, "RUNNER_TOOL_CACHE=" + tools, "RUNNER_TEMP=" + t.TempDir(), "GITHUB_OUTPUT=" + output, "BPF_KERNEL_CHECK_DOWNLOADS=" + server.URL}
			out, err := script(t, tree, env, "get-program", "find")
			if (err == nil) != (tt.want == "") || !strings.Contains(out, tt.want) || err != nil && !strings.Contains(out, "::error::") {
				t.Fatalf("%v, want %q\n%s", err, tt.want, out)
			}
			if (asked.Load() > 0) != tt.asked {
				t.Errorf("asked for it: %d times, want some: %v", asked.Load(), tt.asked)
			}
			b, err := os.ReadFile(output)
			if tt.want != "" {
				if err == nil {
					t.Errorf("it has outputs: %s", b)
				}
				left, err := filepath.Glob(filepath.Join(tools, "bpf-kernel-check/*/*"))
				if err != nil || len(left) != 0 {
					t.Errorf("it left %v, %v", left, err)
				}
				return
			}
			if err != nil || !strings.Contains(string(b), "build="+tt.build+"\n") {
				t.Fatalf("%v, outputs %s", err, b)
			}
			outputs := scriptOutputs(string(b))
			program := outputs["program"]
			if outputs["root"] != tree {
				t.Errorf("root is %q, want %s", outputs["root"], tree)
			}
			if tt.build == "true" {
				if exists(program) {
					t.Errorf("%s is there", program)
				}
				return
			}
			if out, err := exec.Command(program).Output(); err != nil || string(out) != "good\n" {
				t.Errorf("%s says %q, %v", program, out, err)
			}
		})
	}
}

// What one job has built the next takes from a cache: GitHub's, which is no
// more than a directory here.
func TestGetProgramFromACache(t *testing.T) {
	tree := sourceTree(t, "built")
	kept := t.TempDir()
	for _, want := range []string{"building bpf-kernel-check from source", "an earlier run built it"} {
		output, temp := filepath.Join(t.TempDir(), "output"), t.TempDir()
		env := []string{"RUNNER_TOOL_CACHE=" + t.TempDir(), "RUNNER_TEMP=" + temp, "GITHUB_OUTPUT=" + output, "GITHUB_WORKSPACE=" + filepath.Dir(tree)}
		var log string
		for _, arg := range []string{"find", "build"} {
			out, err := script(t, tree, env, "get-program", arg)
			if err != nil {
				t.Fatalf("%s: %v\n%s", arg, err, out)
			}
			log += out
			if arg == "find" { // what actions/cache does between the two
				if err := os.CopyFS(temp, os.DirFS(kept)); err != nil {
					t.Fatal(err)
				}
			}
		}
		b, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		outputs := scriptOutputs(string(b))
		built := map[bool]string{true: "true"}[strings.HasPrefix(want, "building")]
		if !strings.Contains(log, want) || outputs["build"] != "true" || outputs["built"] != built || outputs["go-cache"] != "true" || !strings.HasPrefix(outputs["key"], "bpf-kernel-check-program-source-") {
			t.Errorf("want %s\n%s%s", want, log, b)
		}
		for _, program := range []string{outputs["program"], filepath.Join(outputs["dir"], "bpf-kernel-check")} {
			if out, err := exec.Command(program).Output(); err != nil || string(out) != "built\n" {
				t.Errorf("%s says %q, %v", program, out, err)
			}
		}
		if built == "true" {
			if err := os.CopyFS(kept, os.DirFS(temp)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// sourceTree is no release's; the program that is built from it says a word.
func sourceTree(t *testing.T, word string) string {
	t.Helper()
	return scriptTree(t, "get-program", map[string]string{
		"go.mod": "x", "go.sum": "", "cmd/a.go": "", "guest/a.go": "", "report/a.go": "", "shard/a.go": "",
		"Makefile": "build:\n\tmkdir -p bin && printf '#!/bin/sh\\necho " + word + "\\n' >bin/bpf-kernel-check && chmod +x bin/bpf-kernel-check\n",
	})
}

// scriptOutputs reads outputs of one line each.
func scriptOutputs(text string) map[string]string {
	outputs := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		outputs[name] = value
	}
	return outputs
}

// Two versions of the action in one job have a program each, which nobody else
// can put there: not even who writes to the tool cache that jobs share.
func TestGetProgramOfTwoTrees(t *testing.T) {
	tools, temp := t.TempDir(), t.TempDir()
	for _, word := range []string{"one", "two", "one"} {
		tree := sourceTree(t, word)
		output := filepath.Join(t.TempDir(), "output")
		env := []string{"RUNNER_TOOL_CACHE=" + tools, "RUNNER_TEMP=" + temp, "GITHUB_OUTPUT=" + output}
		for _, arg := range []string{"find", "build"} {
			if out, err := script(t, tree, env, "get-program", arg); err != nil {
				t.Fatalf("%s: %v\n%s", arg, err, out)
			}
			b, err := os.ReadFile(output)
			if err != nil {
				t.Fatal(err)
			}
			key := strings.TrimPrefix(scriptOutputs(string(b))["key"], "bpf-kernel-check-program-")
			put(t, filepath.Join(tools, "bpf-kernel-check", key, "bpf-kernel-check"), "#!/bin/sh\necho planted\n")
		}
		b, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		program := scriptOutputs(string(b))["program"]
		if out, err := exec.Command(program).Output(); err != nil || string(out) != word+"\n" {
			t.Errorf("%s says %q, %v, want %s", program, out, err, word)
		}
	}
}

// A release is looked for where the action is from, and then at the original's.
func TestGetProgramOfAFork(t *testing.T) {
	const program = "#!/bin/sh\necho good\n"
	name := "bpf-kernel-check-v1.2.3-linux-" + runtime.GOARCH
	path := "/releases/download/v1.2.3/" + name + ".gz"
	const original = "https://github.com/elastic/bpf-kernel-check"
	for why, tt := range map[string]struct {
		server, repository, mirror string
		has                        string // has the program
		asked                      []string
	}{
		"a fork":          {"https://github.com", "octo/fork", "", "https://github.com/octo/fork", []string{"https://github.com/octo/fork" + path}},
		"a copy of a tag": {"https://github.com", "octo/fork", "", original, []string{"https://github.com/octo/fork" + path, original + path}},
		"the original":    {"https://github.com", "elastic/bpf-kernel-check", "", original, []string{original + path}},
		"a local action":  {"https://github.com", "", "", original, []string{original + path}},
		"another server":  {"https://git.example", "elastic/bpf-kernel-check", "", original, []string{"https://git.example/elastic/bpf-kernel-check" + path, original + path}},
		"a login page":    {"https://login.example", "octo/fork", "", original, []string{"https://login.example/octo/fork" + path, original + path}},
		"no repository":   {"https://github.com", "a b/$(id)", "", original, []string{original + path}},
		"a mirror":        {"https://github.com", "octo/fork", "https://mirror.example", "https://mirror.example", []string{"https://mirror.example/v1.2.3/" + name + ".gz"}},
		"nowhere":         {"https://github.com", "octo/fork", "", "", []string{"https://github.com/octo/fork" + path, original + path}},
	} {
		t.Run(why, func(t *testing.T) {
			tree := scriptTree(t, "get-program", map[string]string{".github/checksums.txt": sumOf(program) + "  " + name + "\n"})
			bin, output := t.TempDir(), filepath.Join(t.TempDir(), "output")
			put(t, filepath.Join(bin, "served"), gzipped(t, program))
			put(t, filepath.Join(bin, "curl"), `#!/bin/bash
while [ $# -gt 1 ]; do [ "$1" = -o ] && to=$2; shift; done
echo "$1" >>"`+bin+`/asked"
case $1 in https://login.example/*) echo "<html>" >"$to"; exit ;; esac
case $1 in "`+tt.has+`"?*) [ -n "`+tt.has+`" ] && cp "`+bin+`/served" "$to" ;; *) exit 22 ;; esac
`)
			env := []string{
				"PATH=" + bin + ":" + os.Getenv("PATH"), "RUNNER_TOOL_CACHE=" + t.TempDir(), "GITHUB_OUTPUT=" + output,
				"GITHUB_SERVER_URL=" + tt.server, "ACTION_REPOSITORY=" + tt.repository, "BPF_KERNEL_CHECK_DOWNLOADS=" + tt.mirror,
			}
			out, err := script(t, tree, env, "get-program", "find")
			if (err == nil) != (tt.has != "") {
				t.Errorf("%v\n%s", err, out)
			}
			b, err := os.ReadFile(filepath.Join(bin, "asked"))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Fields(string(b)); !slices.Equal(got, tt.asked) {
				t.Errorf("asked for %q, want %q", got, tt.asked)
			}
		})
	}
}

// A releaser is a checkout of a repository with a GitHub of its own: a remote, and
// a gh that keeps one release in a directory for each tag.
type releaser struct {
	t                 *testing.T
	tree, remote, bin string
	base              string // the commit that is released
}

const releaseNotes = "# Changes\n\n## Unreleased\n\n- x\n\n## v1.2.30\n\n- other\n\n## v1.2.3\n\n- what is new\n\n## v1.2.2\n\n- old\n"

func newReleaser(t *testing.T, changelog, check string) *releaser {
	t.Helper()
	r := &releaser{
		t: t, remote: filepath.Join(t.TempDir(), "remote.git"), bin: t.TempDir(),
		tree: scriptTree(t, "release", map[string]string{".github/CHANGELOG.md": changelog, ".gitignore": "/dist/\n", ".github/workflows/check.yml": check}),
	}
	r.git("init", "-q", "--template=", "--bare", r.remote)
	r.git("init", "-q", "--template=", "-b", "main")
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "main")
	r.git("push", "-q", r.remote, "main")
	r.base = r.git("rev-parse", "HEAD")
	put(t, filepath.Join(r.bin, "gh"), `#!/bin/sh
set -e
bin="`+r.bin+`" release="`+r.bin+`/releases/$3"
echo "$*" >>"$bin/asked"
git ls-remote --tags "`+r.remote+`" >"$bin/tags-at-$2"
case $2 in
view)
	[ -z "$GH_DOWN" ] || { echo "HTTP 502" >&2; exit 1; }
	[ -d "$release" ] || { echo "release not found" >&2; exit 1; }
	if [ -e "$bin/public-$3" ]; then echo false; else echo true; fi ;;
create) mkdir -p "$release" ;;
upload)
	shift 4 # release upload TAG --clobber
	cp "$1" "$release"
	[ -z "$UPLOAD_DIES" ] || exit 1
	cp "$@" "$release" ;;
edit) touch "$bin/public-$3"
	while [ "$1" != --notes-file ]; do shift; done
	cp "$2" "$bin/notes" ;;
download) cp -r "$release" "$5" ;;
*) exit 3 ;;
esac
`)
	return r
}

func (r *releaser) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	cmd.Dir = r.tree
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// build puts into dist what a release publishes.
func (r *releaser) build(version, program string) {
	r.t.Helper()
	asset := "bpf-kernel-check-" + version + "-linux-amd64"
	if err := os.RemoveAll(filepath.Join(r.tree, "dist")); err != nil {
		r.t.Fatal(err)
	}
	put(r.t, filepath.Join(r.tree, "dist", asset), program)
	put(r.t, filepath.Join(r.tree, "dist/checksums.txt"), sumOf(program)+"  "+asset+"\n")
}

// run releases from a fresh checkout, and holds the script to show no token.
func (r *releaser) run(version string, env ...string) (string, error) {
	r.t.Helper()
	r.git("reset", "-q", "--hard", r.base)
	out, err := script(r.t, r.tree, append([]string{"VERSION=" + version, "GH_TOKEN=secret", "GITHUB_REPOSITORY=", "RELEASE_REMOTE=" + r.remote, "PATH=" + r.bin + ":" + os.Getenv("PATH")}, env...), "release")
	if strings.Contains(out, "secret") {
		r.t.Errorf("it shows the token:\n%s", out)
	}
	if err != nil && !strings.Contains(out, "::error::release: ") && !strings.Contains(out, "FAILED") && len(env) == 0 {
		r.t.Errorf("it does not say why it failed:\n%s", out)
	}
	return out, err
}

// must releases, and wants the script to say so.
func (r *releaser) must(version, want string) {
	r.t.Helper()
	if out, err := r.run(version); err != nil || !strings.Contains(out, want) {
		r.t.Fatalf("%v, want %s:\n%s", err, want, out)
	}
}

func (r *releaser) tag(name string) string {
	r.t.Helper()
	return r.git("--git-dir", r.remote, "rev-parse", name)
}

func (r *releaser) text(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.bin, name))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

func TestReleaseScript(t *testing.T) {
	t.Parallel()
	check := string(readRepository(t)["check.yml"])
	const asset = "bpf-kernel-check-v1.2.3-linux-amd64"
	for name, tt := range map[string]struct {
		version, sums, changelog, check string
		tagged                          bool // before
		want                            string
	}{
		"well":              {want: "released v1.2.3, v1 points to it"},
		"no version":        {version: "1.2.3", want: "want vX.Y.Z"},
		"an option":         {version: "--all", want: "want vX.Y.Z"},
		"other bytes":       {sums: sumOf("other") + "  " + asset + "\n", want: "FAILED"},
		"another's program": {sums: sumOf("program") + "  " + asset + "\n" + sumOf("x") + "  x\n", want: "not of v1.2.3"},
		"no notes":          {changelog: "# Changes\n\n## v1.2.30\n\n- other\n", want: "has no section ## v1.2.3"},
		"there already":     {tagged: true, want: "v1.2.3 is there already with other content"},
		// Who pins check.yml by its hash must run nothing that can move.
		"a branch":   {check: strings.Replace(check, "/report@v1", "/report@main", 1), want: "are not pinned to"},
		"another":    {check: strings.Replace(check, "/report@v1", "/report/x.y@v1", 1), want: "are not pinned to"},
		"a comment":  {check: strings.Replace(check, "/report@v1", "/report@v1 # moves", 1), want: "are not pinned to"},
		"no actions": {check: "on: workflow_call\n", want: "are not pinned to"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReleaser(t, cmp.Or(tt.changelog, releaseNotes), cmp.Or(tt.check, check))
			if tt.tagged {
				r.git("tag", "v1.2.3")
				r.git("push", "-q", r.remote, "v1.2.3")
				r.git("tag", "-d", "v1.2.3")
			}
			r.build("v1.2.3", "program")
			put(t, filepath.Join(r.tree, "dist/x"), "x")
			if tt.sums != "" {
				put(t, filepath.Join(r.tree, "dist/checksums.txt"), tt.sums)
			}
			out, err := r.run(cmp.Or(tt.version, "v1.2.3"))
			if !strings.Contains(out, tt.want) || (err == nil) != (name == "well") {
				t.Fatalf("%v, want %s:\n%s", err, tt.want, out)
			}
			if name != "well" {
				if exists(filepath.Join(r.bin, "asked")) {
					t.Error("it was published")
				}
				return
			}
			if got := r.text("notes"); strings.TrimSpace(got) != "- what is new" {
				t.Errorf("notes %q", got)
			}
			if got := r.text("asked"); !strings.Contains(got, "release create v1.2.3 --draft --verify-tag ") || !strings.Contains(got, "dist/"+asset) || !strings.Contains(got, " --draft=false --latest=true ") {
				t.Errorf("gh %s", got)
			}
			if got := r.text("tags-at-edit"); !strings.Contains(got, "refs/tags/v1.2.3") || strings.Contains(got, "refs/tags/v1\n") {
				t.Errorf("when it was published, the tags were\n%s", got)
			}
			for _, commit := range []string{"v1", "v1~1"} {
				if got := r.git("--git-dir", r.remote, "show", commit+":.github/checksums.txt"); got != sumOf("program")+"  "+asset {
					t.Errorf("checksums of %s: %q", commit, got)
				}
			}
			if a, b := r.tag("v1"), r.tag("v1.2.3"); a != b {
				t.Errorf("v1 is %s, v1.2.3 is %s", a, b)
			}
			if a, b := r.tag("main"), r.tag("v1~2"); a != b {
				t.Errorf("main is %s, and the release is based on %s", a, b)
			}
			if got := r.git("--git-dir", r.remote, "diff", "--name-only", "v1~1", "v1"); got != ".github/workflows/check.yml" {
				t.Errorf("the commit that is tagged changes %q", got)
			}
			released, err := readWorkflow("check.yml", []byte(r.git("--git-dir", r.remote, "show", "v1:.github/workflows/check.yml")))
			if err != nil {
				t.Fatal(err)
			}
			released.pin = r.tag("v1~1")
			if err := checkPins(released); err != nil {
				t.Error(err)
			}
			released.pin = r.tag("v1")
			if err := checkPins(released); err == nil {
				t.Error("any hash is good enough")
			}
		})
	}
}

// A release that ended half way is gone on with, one that is there is not changed,
// and nobody is moved back.
func TestReleaseScriptAgain(t *testing.T) {
	t.Parallel()
	check := string(readRepository(t)["check.yml"])
	changelog := ""
	for _, v := range []string{"v1.2.3", "v1.2.4", "v1.10.0", "v1.9.1", "v2.0.0"} {
		changelog += "## " + v + "\n\n- new\n\n"
	}
	r := newReleaser(t, changelog, check)
	r.build("v1.2.3", "program")

	refuse := filepath.Join(r.remote, "hooks/update")
	put(t, refuse, "#!/bin/sh\nexit 1\n")
	if out, err := r.run("v1.2.3"); err == nil || !strings.Contains(out, "the tag was refused") {
		t.Errorf("a remote that refuses: %v\n%s", err, out)
	}
	if err := os.Remove(refuse); err != nil {
		t.Fatal(err)
	}
	if out, err := r.run("v1.2.3", "GH_DOWN=1"); err == nil || !strings.Contains(out, "HTTP 502") || strings.Contains(r.text("asked"), "create") {
		t.Errorf("GitHub is down: %v\n%s", err, out)
	}
	commit := r.tag("v1.2.3")
	if out, err := r.run("v1.2.3", "UPLOAD_DIES=1"); err == nil {
		t.Errorf("an upload that dies:\n%s", out)
	}
	if exists(filepath.Join(r.bin, "public-v1.2.3")) || strings.Contains(r.text("tags-at-upload"), "refs/tags/v1\n") {
		t.Error("half a release is published")
	}
	for range 2 { // goes on with it; has nothing to do
		r.must("v1.2.3", "released v1.2.3, v1 points to it")
		if r.tag("v1.2.3") != commit || r.tag("v1") != commit {
			t.Errorf("v1.2.3 is %s and v1 %s, it was %s", r.tag("v1.2.3"), r.tag("v1"), commit)
		}
	}
	if n := strings.Count(r.text("asked"), "release create"); n != 1 {
		t.Errorf("it was created %d times", n)
	}

	r.build("v1.2.3", "another program")
	if out, err := r.run("v1.2.3"); err == nil || !strings.Contains(out, "there already with other content") {
		t.Errorf("other programs: %v\n%s", err, out)
	}
	r.build("v1.2.3", "program")
	put(t, filepath.Join(r.bin, "releases/v1.2.3/bpf-kernel-check-v1.2.3-linux-amd64"), "somebody else's")
	if out, err := r.run("v1.2.3"); err == nil || !strings.Contains(out, "published already with other programs") {
		t.Errorf("somebody else's program: %v\n%s", err, out)
	}

	for _, tt := range []struct{ version, want, v1, latest string }{
		{"v1.10.0", "v1 points to it", "v1.10.0", "true"},
		{"v1.9.1", "v1 stays at the higher v1.10.0", "v1.10.0", "false"},
		{"v2.0.0", "v2 points to it", "v1.10.0", "true"},
		{"v1.2.4", "v1 stays at the higher v1.10.0", "v1.10.0", "false"},
	} {
		r.build(tt.version, "program of "+tt.version)
		r.must(tt.version, "released "+tt.version+", "+tt.want)
		if r.tag("v1") != r.tag(tt.v1) {
			t.Errorf("after %s v1 is not %s", tt.version, tt.v1)
		}
		if !strings.Contains(r.text("asked"), "edit "+tt.version+" --draft=false --latest="+tt.latest+" ") {
			t.Errorf("after %s, gh was asked\n%s", tt.version, r.text("asked"))
		}
	}
	if r.tag("v2") != r.tag("v2.0.0") {
		t.Error("v2 is not v2.0.0")
	}
}

// releaseTree is this repository as tagged by a release, with the programs
// still in dist.
func releaseTree(t *testing.T, version string) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "release")
	copyRepository(t, tree)
	cmd := exec.Command("make", "-s", "release", "VERSION="+version)
	cmd.Dir = tree
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sums, err := os.ReadFile(filepath.Join(tree, "dist/checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(tree, ".github/checksums.txt"), string(sums))
	return tree
}

// checkSameBytes builds a release once more, in another directory: whoever
// builds a tag gets the bytes whose checksum is in it.
func checkSameBytes(t *testing.T, release, version string) {
	t.Helper()
	name := "bpf-kernel-check-" + version + "-linux-amd64"
	var sums []string
	for _, tree := range []string{release, releaseTree(t, version)} {
		out, err := exec.Command(filepath.Join(tree, "dist", name), "--version").Output()
		if err != nil || strings.TrimSpace(string(out)) != "bpf-kernel-check version "+version {
			t.Errorf("%q, %v", out, err)
		}
		// Every job downloads the compressed one.
		for file, most := range map[string]int64{name: 66.9e6, name + ".gz": 42.7e6} {
			if info, err := os.Stat(filepath.Join(tree, "dist", file)); err != nil {
				t.Error(err)
			} else if info.Size() > most {
				t.Errorf("%s has %d bytes, want %d at most", file, info.Size(), most)
			}
		}
		b, err := os.ReadFile(filepath.Join(tree, ".github/checksums.txt"))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, string(b))
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds differ:\n%s%s", sums[0], sums[1])
	}
}

func TestReleaseVersion(t *testing.T) {
	cmd := exec.Command("make", "-s", "-C", repository, "release", "VERSION=1.2.3", "DIST="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "want vX.Y.Z") {
		t.Errorf("%v\n%s", err, out)
	}
}
