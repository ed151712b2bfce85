package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write generated files anew")

// actionFiles are the actions, by the word that begins their names.
var actionFiles = map[string]string{"run": "action.yml", "plan": "shard/action.yml", "report": "report/action.yml"}

// mayWrite are the permissions beyond reading the repository, by file and job.
var mayWrite = map[string][]string{
	"fork-comment.yml/report": {"actions: read", "pull-requests: write", "statuses: write"},
	"nightly.yml/pages":       {"id-token: write", "pages: write"},
	"nightly.yml/report":      {"issues: write", "statuses: write"},
	"pr.yml/report":           {"pull-requests: write", "statuses: write"},
	"release.yml/publish":     {"attestations: write", "id-token: write"},
}

// A workflow or an action as text, and what YAML makes of it.
type workflow struct {
	name string // "pr.yml", "shard/action.yml"
	root *yaml.Node
	pin  string // what check.yml pins this repository's own actions to: "v1", in a release a hash
}

func readWorkflow(name string, text []byte) (workflow, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil || len(doc.Content) != 1 {
		return workflow{}, fmt.Errorf("%s: %v", name, err)
	}
	return workflow{name, doc.Content[0], "v1"}, nil
}

// get is the value of a key, nil when there is none.
func get(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		var found *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				found = n.Content[i+1]
			}
		}
		n = found
	}
	return n
}

func text(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}

var inputRE = regexp.MustCompile(`^\$\{\{ inputs\.([\w-]+) \}\}$`)

// given is what a value is when the caller of a workflow leaves its input out.
func (w workflow) given(n *yaml.Node) string {
	if m := inputRE.FindStringSubmatch(text(n)); m != nil {
		return text(get(w.root, "on", "workflow_call", "inputs", m[1], "default"))
	}
	return text(n)
}

// pairs of a mapping, in its order.
func pairs(n *yaml.Node) (all [][2]*yaml.Node) {
	if n != nil && n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			all = append(all, [2]*yaml.Node{n.Content[i], n.Content[i+1]})
		}
	}
	return all
}

func (w workflow) isAction() bool { return strings.HasSuffix(w.name, "action.yml") }

// each visits every value of a key that is a text.
func each(n *yaml.Node, key string, visit func(*yaml.Node)) {
	for _, p := range pairs(n) {
		if p[0].Value == key && p[1].Kind == yaml.ScalarNode {
			visit(p[1])
		}
	}
	for _, c := range n.Content {
		each(c, key, visit)
	}
}

// stepsOf are the steps of a job, or of what an action runs.
func stepsOf(n *yaml.Node) []*yaml.Node {
	if list := get(n, "steps"); list != nil {
		return list.Content
	}
	return nil
}

// steps visits all steps of an action or of all jobs.
func (w workflow) steps(visit func(*yaml.Node)) {
	all := stepsOf(get(w.root, "runs"))
	for _, job := range pairs(get(w.root, "jobs")) {
		all = append(all, stepsOf(job[1])...)
	}
	for _, step := range all {
		visit(step)
	}
}

// checkInterpolation finds scripts into which the runner would paste text.
func checkInterpolation(w workflow) (err error) {
	each(w.root, "run", func(n *yaml.Node) {
		if strings.Contains(n.Value, "${{") {
			err = errors.Join(err, fmt.Errorf("%s:%d: run: has ${{: hand the value over by env", w.name, n.Line))
		}
	})
	return err
}

var (
	pinRE     = regexp.MustCompile(`^[\w.-]+/[\w.-]+(/[\w./-]+)?@[0-9a-f]{40}$`)
	versionRE = regexp.MustCompile(`^# v\d+\.\d+\.\d+$`)
)

// node24 are the first versions of actions that run on Node 24, and use no other
// action that does not: runners have no Node 20 any more. Their action.yml says
// which they run on.
var node24 = map[string][3]int{
	"actions/attest-build-provenance": {4, 0, 0},
	"actions/cache":                   {5, 0, 0},
	"actions/checkout":                {5, 0, 0},
	"actions/configure-pages":         {6, 0, 0},
	"actions/deploy-pages":            {5, 0, 0},
	"actions/download-artifact":       {7, 0, 0},
	"actions/github-script":           {8, 0, 0},
	"actions/create-github-app-token": {3, 0, 0},
	"google-github-actions/auth":      {3, 0, 0},
	"actions/setup-go":                {6, 2, 0},
	"actions/upload-artifact":         {6, 0, 0},
	"actions/upload-pages-artifact":   {5, 0, 0},
}

// oldNode says that a pinned action runs on a Node that runners do not have.
func oldNode(uses, comment string) bool {
	var v [3]int
	if _, err := fmt.Sscanf(comment, "# v%d.%d.%d", &v[0], &v[1], &v[2]); err != nil {
		return true
	}
	name, _, _ := strings.Cut(uses, "@")
	for action, first := range node24 {
		if name == action || strings.HasPrefix(name, action+"/") {
			return slices.Compare(v[:], first[:]) < 0
		}
	}
	return true // look its version up first
}

// checkPins finds actions that are not pinned. The reusable workflow names this
// repository's own by a tag, and in a release by the hash of the commit before.
func checkPins(w workflow) (err error) {
	own := regexp.MustCompile(`^elastic/bpf-kernel-check(/shard|/report)?@(.*)$`)
	each(w.root, "uses", func(n *yaml.Node) {
		m := own.FindStringSubmatch(n.Value)
		switch {
		case strings.HasPrefix(n.Value, "./"):
		case w.name == "check.yml" && m != nil && m[2] == w.pin:
		case w.name == "check.yml" && m != nil:
			err = errors.Join(err, fmt.Errorf("%s:%d: uses: %s: want @%s", w.name, n.Line, n.Value, w.pin))
		case !pinRE.MatchString(n.Value):
			err = errors.Join(err, fmt.Errorf("%s:%d: uses: %s: pin it by its commit's hash", w.name, n.Line, n.Value))
		case !versionRE.MatchString(n.LineComment):
			err = errors.Join(err, fmt.Errorf("%s:%d: uses: %s: name its version in a comment, as # v1.2.3", w.name, n.Line, n.Value))
		case oldNode(n.Value, n.LineComment):
			err = errors.Join(err, fmt.Errorf("%s:%d: uses: %s: want a version that runs on Node 24", w.name, n.Line, n.Value))
		}
	})
	return err
}

// checkPermissions holds workflows to no permissions as a whole, and jobs to
// reading the repository and what mayWrite says.
// check.yml has none: what a caller of a workflow does not grant, no job of it may
// ask for, or GitHub refuses the caller's file; a job that asks for nothing has what
// the caller grants.
func checkPermissions(w workflow) (err error) {
	if w.isAction() {
		return nil
	}
	if get(w.root, "on", "workflow_call") != nil {
		for _, job := range append(pairs(get(w.root, "jobs")), [2]*yaml.Node{{Value: ""}, w.root}) {
			if get(job[1], "permissions") != nil {
				err = errors.Join(err, fmt.Errorf("%s/%s: permissions in a workflow that others call: whoever grants less cannot use it", w.name, job[0].Value))
			}
		}
		return err
	}
	if top := get(w.root, "permissions"); top == nil || top.Kind != yaml.MappingNode || len(top.Content) > 0 {
		err = fmt.Errorf("%s: want permissions: {} at the top", w.name)
	}
	for _, job := range pairs(get(w.root, "jobs")) {
		name := w.name + "/" + job[0].Value
		perms := get(job[1], "permissions")
		if perms == nil || perms.Kind != yaml.MappingNode {
			err = errors.Join(err, fmt.Errorf("%s: want permissions of its own", name))
			continue
		}
		var got []string
		for _, p := range pairs(perms) {
			if s := p[0].Value + ": " + p[1].Value; s != "contents: read" {
				got = append(got, s)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, mayWrite[name]) {
			err = errors.Join(err, fmt.Errorf("%s: permissions %q: want %q", name, got, mayWrite[name]))
		}
	}
	return err
}

// checkSecrets finds steps that boot kernels, or start something else of others,
// with a token in their environment, and paths that are the host's in a container.
func checkSecrets(w workflow) (err error) {
	w.steps(func(step *yaml.Node) {
		run := text(get(step, "run"))
		for _, v := range pairs(get(step, "env")) {
			begins := strings.Contains(run, " action begin-") && v[0].Value == "INPUTS"
			publishes := regexp.MustCompile(` action (pending-plan|publish-run|report)$`).MatchString(run) && v[0].Value == "GITHUB_TOKEN"
			if regexp.MustCompile(`(?i)token|secrets|toJSON\(inputs\)`).MatchString(v[0].Value+v[1].Value) && w.isAction() && !begins && !publishes {
				err = errors.Join(err, fmt.Errorf("%s:%d: %s: the step needs no token", w.name, step.Line, v[0].Value))
			}
		}
		for _, part := range []string{"with", "env"} {
			for _, v := range pairs(get(step, part)) {
				if strings.Contains(v[1].Value, "github.action_path") {
					err = errors.Join(err, fmt.Errorf("%s:%d: %s: github.action_path is the host's: want the output root", w.name, step.Line, v[0].Value))
				}
			}
		}
		if uses := text(get(step, "uses")); w.name == "action.yml" && strings.Contains(uses, "-artifact@") && !strings.Contains(text(get(step, "if")), "steps.begin.outputs.") {
			err = errors.Join(err, fmt.Errorf("%s:%d: %s: want a condition that is false with artifacts: false", w.name, step.Line, uses))
		}
	})
	return err
}

// checkHygiene finds checkouts that leave the token behind, jobs that may run
// for six hours, and workflows of which several may run at once.
func checkHygiene(w workflow) (err error) {
	w.steps(func(step *yaml.Node) {
		if strings.HasPrefix(text(get(step, "uses")), "actions/checkout@") && text(get(step, "with", "persist-credentials")) != "false" {
			err = errors.Join(err, fmt.Errorf("%s:%d: checkout without persist-credentials: false", w.name, step.Line))
		}
		if w.isAction() && get(step, "run") != nil && text(get(step, "shell")) != "bash" {
			err = errors.Join(err, fmt.Errorf("%s:%d: run: without shell: bash", w.name, step.Line))
		}
	})
	if w.isAction() {
		return err
	}
	for _, job := range pairs(get(w.root, "jobs")) {
		if get(job[1], "uses") == nil && get(job[1], "timeout-minutes") == nil {
			err = errors.Join(err, fmt.Errorf("%s/%s: want timeout-minutes", w.name, job[0].Value))
		}
	}
	for _, job := range pairs(get(w.root, "jobs")) {
		minutes, _ := strconv.Atoi(w.given(get(job[1], "timeout-minutes")))
		for _, step := range stepsOf(job[1]) {
			if !bootsRE.MatchString(text(get(step, "uses"))) {
				continue
			}
			// What a job's own limit ends reports nothing.
			total, e := time.ParseDuration(w.given(get(step, "with", "timeout-total")))
			if e != nil || total <= 0 || total > time.Duration(minutes-5)*time.Minute {
				err = errors.Join(err, fmt.Errorf("%s:%d: want a timeout-total of %dm at most, 5 minutes below timeout-minutes", w.name, step.Line, minutes-5))
			}
		}
	}
	if get(w.root, "on", "workflow_call") == nil && get(w.root, "concurrency") == nil {
		err = errors.Join(err, fmt.Errorf("%s: want a concurrency group", w.name))
	}
	return err
}

// bootsRE are the uses of the action that boots kernels.
var bootsRE = regexp.MustCompile(`^(\./|elastic/bpf-kernel-check@.*)$`)

// checkLast holds ci.yml to a last job that no other job can fail, be cancelled
// or be skipped without.
func checkLast(w workflow) (err error) {
	if w.name != "ci.yml" {
		return nil
	}
	jobs := pairs(get(w.root, "jobs"))
	last := jobs[len(jobs)-1]
	var needs, others []string
	if n := get(last[1], "needs"); n != nil {
		needs = lines(n)
	}
	for _, job := range jobs[:len(jobs)-1] {
		others = append(others, job[0].Value)
	}
	slices.Sort(needs)
	slices.Sort(others)
	if !slices.Equal(needs, others) {
		err = errors.Join(err, fmt.Errorf("%s/%s needs %q: want all others, %q", w.name, last[0].Value, needs, others))
	}
	if text(get(last[1], "if")) != "always()" {
		err = errors.Join(err, fmt.Errorf("%s/%s: want if: always()", w.name, last[0].Value))
	}
	for _, result := range []string{"failure", "cancelled", "skipped"} {
		found := false
		for _, step := range stepsOf(last[1]) {
			terms := strings.Split(text(get(step, "if")), " || ")
			found = found || text(get(step, "run")) == "exit 1" && slices.Contains(terms, "contains(needs.*.result, '"+result+"')")
		}
		if !found {
			err = errors.Join(err, fmt.Errorf("%s/%s: want a step that fails when a job is %s", w.name, last[0].Value, result))
		}
	}
	return err
}

var workflowChecks = map[string]func(workflow) error{
	"interpolation": checkInterpolation,
	"pins":          checkPins,
	"permissions":   checkPermissions,
	"hygiene":       checkHygiene,
	"secrets":       checkSecrets,
	"last job":      checkLast,
}

// repository is this repository's root, from this package's directory.
const repository = "../.."

func readRepository(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	list, err := filepath.Glob(filepath.Join(repository, ".github/workflows/*.yml"))
	if err != nil || len(list) < 6 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, path := range list {
		if files[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range actionFiles {
		if files[path], err = os.ReadFile(filepath.Join(repository, path)); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestWorkflows(t *testing.T) {
	pins := map[string]string{} // by action
	for name, text := range readRepository(t) {
		w, err := readWorkflow(name, text)
		if err != nil {
			t.Fatal(err)
		}
		if exists(filepath.Join(repository, ".github/checksums.txt")) { // a release's tree
			head, err := exec.Command("git", "-C", repository, "rev-parse", "HEAD~1").Output()
			if err != nil {
				t.Fatal(err)
			}
			w.pin = strings.TrimSpace(string(head))
		}
		for check, run := range workflowChecks {
			if err := run(w); err != nil {
				t.Errorf("%s: %v", check, err)
			}
		}
		each(w.root, "uses", func(n *yaml.Node) {
			action, ref, _ := strings.Cut(n.Value, "@")
			action = strings.Join(strings.SplitN(action, "/", 3)[:min(2, strings.Count(action, "/")+1)], "/")
			pin := ref + " " + n.LineComment
			if old := cmp.Or(pins[action], pin); old != pin {
				t.Errorf("%s: %s is %s here and %s elsewhere", name, action, pin, old)
			}
			pins[action] = pin
		})
	}
	if len(pins) < 5 {
		t.Errorf("pins: %v", pins)
	}
}

// workflowFault is a change of a file for which a check has to say what it wants.
type workflowFault struct{ check, file, old, new, want string }

func (f workflowFault) seed(t *testing.T, files map[string][]byte, checks map[string]func(workflow) error) {
	t.Helper()
	mutant := strings.Replace(string(files[f.file]), f.old, f.new, 1)
	if mutant == string(files[f.file]) {
		t.Errorf("%s has no %q", f.file, f.old)
		return
	}
	w, err := readWorkflow(f.file, []byte(mutant))
	if err != nil {
		t.Fatal(err)
	}
	if err := checks[f.check](w); err == nil || !strings.Contains(err.Error(), f.want) {
		t.Errorf("%s with %q: %s: %v, want %s", f.file, f.new, f.check, err, f.want)
	}
}

// Each check finds what it is for.
func TestWorkflowsFaults(t *testing.T) {
	files := readRepository(t)
	for _, tt := range []workflowFault{
		{"interpolation", "pr.yml", "run: CGO_ENABLED=0", "run: echo ${{ github.head_ref }}; CGO_ENABLED=0", "hand the value over by env"},
		{"interpolation", "action.yml", `action run'`, `action run ${{ inputs.kernels }}'`, "hand the value over by env"},
		{"interpolation", "ci.yml", `echo "verdict`, `echo ${{ matrix.guest }} "verdict`, "hand the value over by env"},
		{"pins", "action.yml", "@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1", "@v7", "pin it"},
		{"pins", "pr.yml", " # v6.0.2", "", "name its version"},
		{"pins", "pr.yml", "uses: ./report", "uses: elastic/bpf-kernel-check/report@v1", "pin it"},
		{"pins", "check.yml", "elastic/bpf-kernel-check/shard@v1", "elastic/bpf-kernel-check/shard@main", "want @v1"},
		{"permissions", "pr.yml", "permissions: {}", "permissions: {contents: write}", "at the top"},
		{"permissions", "pr.yml", "permissions: {}", "permissions: write-all", "at the top"},
		{"permissions", "pr.yml", "\npermissions: {}\n", "\n", "at the top"},
		{"permissions", "pr.yml", "    permissions:\n      contents: read\n    outputs:", "    outputs:", "pr.yml/plan: want permissions"},
		{"permissions", "nightly.yml", "      contents: read\n    strategy", "      contents: write\n    strategy", "nightly.yml/kernels: permissions"},
		{"permissions", "pr.yml", "      statuses: write\n", "", "pr.yml/report: permissions"},
		{"permissions", "nightly.yml", "      pages: write\n      id-token: write\n", "      pages: write\n      id-token: write\n      issues: write\n", "nightly.yml/pages: permissions"},
		{"pins", "nightly.yml", "@cd2ce8fcbc39b97be8ca5fce6e763baed58fa128 # v5.0.0", "@v4", "pin it"},
		{"pins", "nightly.yml", "@cd2ce8fcbc39b97be8ca5fce6e763baed58fa128 # v5.0.0", "@d6db90164ac5ed86f2b6aed7e0febac5b3c0c03e # v4.0.5", "runs on Node 24"},
		{"pins", "shard/action.yml", "actions/cache/save@", "actions/stash/save@", "runs on Node 24"},
		{"secrets", "action.yml", "        STARTED: ", "        GITHUB_TOKEN: ${{ inputs.token }}\n        STARTED: ", "needs no token"},
		{"secrets", "action.yml", "        STARTED: ", "        INPUTS: ${{ toJSON(inputs) }}\n        STARTED: ", "needs no token"},
		{"secrets", "action.yml", "        STARTED: ", "        GH: ${{ github.token }}\n        STARTED: ", "needs no token"},
		{"secrets", "shard/action.yml", "action plan'\n      env:\n", "action plan'\n      env:\n        GITHUB_TOKEN: ${{ inputs.token }}\n", "needs no token"},
		{"secrets", "shard/action.yml", "action index-plan'\n      env:\n", "action index-plan'\n      env:\n        GITHUB_TOKEN: ${{ inputs.token }}\n", "needs no token"},
		{"secrets", "shard/action.yml", "${{ steps.find.outputs.root }}/go.sum", "${{ github.action_path }}/../go.sum", "is the host's"},
		{"secrets", "action.yml", "always() && steps.begin.outputs.artifact != ''", "always()", "with artifacts: false"},
		{"hygiene", "release.yml", "          persist-credentials: false\n", "          fetch-depth: 1\n", "persist-credentials"},
		{"hygiene", "ci.yml", "    timeout-minutes: 15\n", "", "timeout-minutes"},
		{"hygiene", "nightly.yml", "concurrency:", "x:", "concurrency"},
		{"hygiene", "pr.yml", "          timeout-total: 50m", "          timeout-total: 56m", "want a timeout-total of 55m at most"},
		{"hygiene", "check.yml", "        default: 110m", "        default: 116m", "want a timeout-total of 115m at most"},
		{"hygiene", "check.yml", "          timeout-total: ${{ inputs.timeout-total }}\n", "", "want a timeout-total"},
		{"permissions", "check.yml", "\njobs:\n", "\npermissions: {}\n\njobs:\n", "check.yml/: permissions in a workflow that others call"},
		{"permissions", "check.yml", "    needs: plan\n", "    needs: plan\n    permissions: {contents: read}\n", "check.yml/kernels: permissions"},
		{"hygiene", "ci.yml", "          timeout-total: 15m", "          timeout-total: 0", "want a timeout-total"},
		{"last job", "ci.yml", "needs: [lint, unit, test, guest]", "needs: [lint, unit, test]", "want all others"},
		{"last job", "ci.yml", "    if: always()\n", "", "want if: always()"},
		{"last job", "ci.yml", " || contains(needs.*.result, 'cancelled')", "", "a job is cancelled"},
		{"last job", "ci.yml", " || contains(needs.*.result, 'skipped')", "", "a job is skipped"},
		{"last job", "ci.yml", "contains(needs.*.result, 'failure') || ", "", "a job is failure"},
		{"hygiene", "shard/action.yml", "      shell: bash\n", "", "shell: bash"},
	} {
		tt.seed(t, files, workflowChecks)
	}
}

const actionlint = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"

// actionlint knows the inputs of local actions, contexts and types.
func TestWorkflowsActionlint(t *testing.T) {
	lint := func(dir string) (string, error) {
		list, err := filepath.Glob(filepath.Join(dir, ".github/workflows/*.yml"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("go", append([]string{"run", actionlint, "-no-color"}, list...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := lint(repository); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	dir := t.TempDir()
	for name, text := range readRepository(t) {
		path := filepath.Join(dir, name)
		if !strings.HasSuffix(name, "action.yml") {
			path = filepath.Join(dir, ".github/workflows", name)
		}
		if name == "pr.yml" {
			text = []byte(strings.Replace(string(text), "needs.plan.outputs.matrix", "needs.plan.outputs.matirx", 1))
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range documentWorkflows(t) {
		put(t, filepath.Join(dir, ".github/workflows", name), string(text))
	}
	if out, err := lint(dir); err == nil || strings.Count(out, "matirx") == 0 || strings.Count(out, "[") != 1 {
		t.Errorf("a seeded fault, and the documents' workflows: %v\n%s", err, out)
	}
}

// The inputs of an action are the flags of its command.
func TestWorkflowsInputs(t *testing.T) {
	files := readRepository(t)
	c := &command{}
	// What the steps give themselves.
	without := map[string][]string{"run": {"pending"}, "plan": {"out", "json"}, "report": {"pending"}}
	for _, which := range slices.Sorted(maps.Keys(actionFiles)) {
		w, err := readWorkflow(actionFiles[which], files[actionFiles[which]])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, in := range pairs(get(w.root, "inputs")) {
			got = append(got, in[0].Value)
		}
		slices.Sort(got)
		cmds, own := c.actionInputs(which)
		wanted := slices.DeleteFunc(append(flagNames(cmds...), own...), func(s string) bool { return slices.Contains(without[which], s) })
		if which != "report" {
			wanted = append(wanted, "cache")
		}
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			t.Errorf("%s has the inputs\n%q, want those of the flags\n%q", w.name, got, wanted)
		}
		// A default counts as given: the file of settings would never be asked.
		for _, in := range pairs(get(w.root, "inputs")) {
			if d := get(in[1], "default"); d != nil && in[0].Value != "token" {
				t.Errorf("%s:%d: %s has a default: want it in actionDefaults", w.name, d.Line, in[0].Value)
			}
		}
	}
	// Nor may check.yml give false where its caller gives nothing.
	check, err := readWorkflow("check.yml", files["check.yml"])
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range pairs(get(check.root, "on", "workflow_call", "inputs")) {
		if name := in[0].Value; text(get(in[1], "default")) == "false" && strings.Contains(string(files["check.yml"]), "${{ inputs."+name+" }}") {
			t.Errorf("check.yml:%d: %s: want ${{ inputs.%[2]s || '' }}", in[0].Line, name)
		}
	}
}

// notInCheck are the inputs of the actions that check.yml does not take, and why.
var notInCheck = map[string]map[string]string{
	"run": {
		"artifacts": "its report needs them",
		"plan":      "found by name: it is an artifact of the same run",
		"history":   "found by the report, in the default branch's cache",
		"base":      "found there, too",
		"resume":    "for an out that outlives the job, which this one's does not",
		"out":       "nobody sees it but the job, whose results are an artifact",
		"token":     "the job's own, with what the caller grants",
	},
	"plan": {
		"base":  "found in the default branch's cache",
		"cache": "that of the runners that boot kernels, which the plan's is not",
		"token": "the job's own",
	},
	"report": {
		"plan":    "an artifact of the same run",
		"base":    "found in the default branch's cache",
		"history": "found there, too",
		"out":     "nobody sees it but the job",
		"run-id":  "the same run",
		"token":   "the job's own",
	},
}

// checkReach finds inputs of the actions that check.yml can neither give, nor has
// a reason not to, and inputs of its own that it does not use.
func checkReach(actions map[string]workflow, check workflow) (err error) {
	given := map[string]map[string]string{} // by action, then input
	check.steps(func(step *yaml.Node) {
		for which, uses := range map[string]string{"run": "", "plan": "/shard", "report": "/report"} {
			if strings.HasPrefix(text(get(step, "uses")), "elastic/bpf-kernel-check"+uses+"@") {
				given[which] = map[string]string{}
				for _, p := range pairs(get(step, "with")) {
					given[which][p[0].Value] = p[1].Value
				}
			}
		}
	})
	fixed := regexp.MustCompile(`^\$\{\{ (matrix\.name|toJSON\(needs\)) \}\}$`)
	for which, action := range actions {
		for _, in := range pairs(get(action.root, "inputs")) {
			name := in[0].Value
			v, ok := given[which][name]
			_, not := notInCheck[which][name]
			other, reports := given["report"][name] // of the report alone: status, comment
			switch {
			case !ok && which == "run" && reports:
				v, ok = other, true
			case !ok && which == "run" && given["plan"][name] != "": // how the list is split
				v, ok = given["plan"][name], true
			}
			switch {
			case ok && not:
				err = errors.Join(err, fmt.Errorf("check.yml gives %s the input %s, and a reason not to", action.name, name))
			case !ok && !not:
				err = errors.Join(err, fmt.Errorf("check.yml gives %s no input %s, and no reason stands in notInCheck", action.name, name))
			case ok && !fixed.MatchString(v) && !regexp.MustCompile(`\binputs\.`+name+`([^\w-]|$)`).MatchString(v):
				err = errors.Join(err, fmt.Errorf("check.yml gives %s the input %s as %s: want that of its caller", action.name, name, v))
			}
		}
	}
	// In values that are not of a step's with, too.
	var all strings.Builder
	var visit func(*yaml.Node)
	visit = func(n *yaml.Node) {
		all.WriteString(n.Value + "\n")
		for _, c := range n.Content {
			visit(c)
		}
	}
	visit(get(check.root, "jobs"))
	for _, in := range pairs(get(check.root, "on", "workflow_call", "inputs")) {
		if !regexp.MustCompile(`\binputs\.` + in[0].Value + `([^\w-]|$)`).MatchString(all.String()) {
			err = errors.Join(err, fmt.Errorf("check.yml does not use its input %s", in[0].Value))
		}
	}
	return err
}

func TestWorkflowsCheckInputs(t *testing.T) {
	files := readRepository(t)
	reach := func(check string) error {
		actions := map[string]workflow{}
		for which, path := range actionFiles {
			w, err := readWorkflow(path, files[path])
			if err != nil {
				t.Fatal(err)
			}
			actions[which] = w
		}
		w, err := readWorkflow("check.yml", []byte(check))
		if err != nil {
			t.Fatal(err)
		}
		return checkReach(actions, w)
	}
	good := string(files["check.yml"])
	if err := reach(good); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{"          memory: ${{ inputs.memory }}\n", "", "gives action.yml no input memory"},
		{"          target-minutes: ${{ inputs.target-minutes }}\n", "", "gives shard/action.yml no input target-minutes"},
		{"boot: ${{ inputs.boot }}", "boot: cold", "the input boot as cold"},
		{"name: ${{ inputs.name }}\n          status", "name: ${{ inputs.test }}\n          status", "gives report/action.yml the input name as"},
		{"          shard: ${{ matrix.name }}", "          shard: ${{ matrix.name }}\n          out: ${{ inputs.test }}", "and a reason not to"},
		{"      payload:\n", "      payloads:\n", "does not use its input payloads"},
	} {
		mutant := strings.Replace(good, tt.old, tt.new, 1)
		if err := reach(mutant); mutant == good || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("with %q instead of %q: %v, want %s", tt.new, tt.old, err, tt.want)
		}
	}
}

// The documents show workflows as somebody else's repository has them.
func TestWorkflowsExample(t *testing.T) {
	type replacement struct{ old, new string }
	pins := []replacement{
		{`uses: \./(shard|report)`, "uses: elastic/bpf-kernel-check/$1@v1"},
		{`uses: \./\n`, "uses: elastic/bpf-kernel-check@v1\n"},
		{`@[0-9a-f]{40} # (v\d+)\S*`, "@$1"},
	}
	for _, tt := range []struct {
		file, page, name string
		replace          []replacement
	}{
		{"pr.yml", "action.md", "three steps", append([]replacement{
			{`\$\{\{ vars\.BPF_KERNELS \|\| '([^']*)' \}\}`, "$1"},
			{`\./\.github/example/probe`, "./probe"},
		}, pins...)},
		{"nightly.yml", "action.md", "nightly", append([]replacement{
			{`\$\{\{ vars\.BPF_KERNELS \|\| '([^']*)' \}\}`, "$1"},
			{`\./\.github/example/probe`, "./probe"},
			{`(?s)\n  # Publishes the page.*`, ""},
			{`    outputs:\n      artifact: .*\n`, ""},
			{`          page-url: .*\n`, ""},
			{`      - id: report\n        uses`, "      - uses"},
		}, pins...)},
		// What is checked out is not needed where the action is another repository's.
		{"fork-comment.yml", "publish.md", "forks", append([]replacement{
			{`(?s)      - uses: actions/checkout@.*?persist-credentials: false\n`, ""},
			{`      contents: read\n`, ""},
		}, pins[0])},
	} {
		text := string(readRepository(t)[tt.file])
		_, text, ok := strings.Cut(text, "\nname: ")
		if !ok {
			t.Fatalf("%s has no name", tt.file)
		}
		text = "name: " + text
		for _, r := range tt.replace {
			re := regexp.MustCompile(r.old)
			if !re.MatchString(text) {
				t.Errorf("%s has no %s", tt.file, r.old)
			}
			text = re.ReplaceAllString(text, r.new)
		}
		page := ".github/docs/" + tt.page
		golden(t, page, replaceBetween(t, readText(t, filepath.Join(repository, page)), tt.name, "```yaml\n"+text+"```\n"))
	}
}

// table documents inputs or outputs.
func table(w workflow, part string) string {
	var b strings.Builder
	one, withDefault := strings.TrimSuffix(part, "s"), part == "inputs"
	fmt.Fprintf(&b, "| %s | meaning |\n| --- | --- |\n", one)
	for _, in := range pairs(get(w.root, part)) {
		meaning := strings.ReplaceAll(text(get(in[1], "description")), "|", `\|`)
		if d := text(get(in[1], "default")); withDefault && d != "" && d != "false" {
			meaning += fmt.Sprintf("; `%s` by default", d)
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", in[0].Value, meaning)
	}
	return b.String()
}

// replaceBetween replaces what stands between two comments in a document.
func replaceBetween(t *testing.T, doc, name, with string) string {
	t.Helper()
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->\n"
	i, j := strings.Index(doc, begin), strings.Index(doc, end)
	if i < 0 || j < i {
		t.Fatalf("the document lacks %s%s", begin, end)
	}
	return doc[:i+len(begin)] + with + doc[j:]
}
