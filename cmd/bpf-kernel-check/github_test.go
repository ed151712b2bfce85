package main

// What GitHub holds workflows to and the local runner does not, and what their
// users rely on: its own parser and schemas, permissions, concurrency groups,
// outputs, jobs that must run when others fail. The documents' workflows are held
// to the same.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var yamlRE = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

// documentWorkflows are the workflows that the documents show and those that init
// writes, by a file's name for each. Those without `on` get one: only a part is shown.
func documentWorkflows(t *testing.T) map[string][]byte {
	t.Helper()
	documents, err := filepath.Glob(filepath.Join(repository, ".github/docs/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, document := range append(documents, filepath.Join(repository, "README.md")) {
		for i, m := range yamlRE.FindAllStringSubmatch(readText(t, document), -1) {
			name := fmt.Sprintf("%s-%d.yml", strings.TrimSuffix(filepath.Base(document), ".md"), i+1)
			w, err := readWorkflow(name, []byte(m[1]))
			switch {
			case err != nil:
				t.Error(err)
			case get(w.root, "jobs") == nil:
			case get(w.root, "on") == nil:
				all[name] = []byte("on: push\n" + m[1])
			default:
				all[name] = []byte(m[1])
			}
		}
	}
	if len(all) < 7 {
		t.Fatalf("the documents have %d workflows", len(all))
	}
	for kind, tree := range initTrees {
		p, err := lookAt(tree)
		if err != nil {
			t.Fatal(err)
		}
		all["init-"+kind+".yml"] = []byte(p.workflow())
	}
	return all
}

// needed are the permissions that a step or a called workflow uses, by what it
// uses; the inputs that are on by default are those of `on`.
var needed = []struct {
	uses   *regexp.Regexp
	inputs map[string]string // and what each needs
	on     []string
	always []string
}{
	{regexp.MustCompile(`^actions/checkout@`), nil, nil, []string{"contents: read"}},
	{regexp.MustCompile(`^google-github-actions/auth@`), nil, nil, []string{"id-token: write"}},
	{regexp.MustCompile(`^actions/attest-build-provenance@`), nil, nil, []string{"attestations: write", "id-token: write"}},
	{regexp.MustCompile(`^actions/deploy-pages@`), nil, nil, []string{"pages: write", "id-token: write"}},
	{regexp.MustCompile(`^(\./|elastic/bpf-kernel-check/?)shard(@|$)`), map[string]string{"pending": "statuses: write"}, nil, nil},
	{
		regexp.MustCompile(`^(\./|elastic/bpf-kernel-check@.*)$`),
		map[string]string{"status": "statuses: write", "comment": "pull-requests: write", "check-run": "checks: write", "issue": "issues: write"},
		nil, nil,
	},
	{
		regexp.MustCompile(`^(\./report|elastic/bpf-kernel-check/report@.*)$`),
		map[string]string{"status": "statuses: write", "comment": "pull-requests: write", "check-run": "checks: write", "issue": "issues: write", "run-id": "actions: read"},
		[]string{"status", "comment"},
		nil,
	},
	{
		regexp.MustCompile(`/workflows/check\.yml(@|$)`),
		map[string]string{
			"pending": "statuses: write", "status": "statuses: write", "comment": "pull-requests: write", "check-run": "checks: write", "issue": "issues: write",
			"workload-identity-provider": "id-token: write",
		},
		[]string{"status", "comment"},
		[]string{"contents: read"},
	},
}

// checkGrants finds jobs whose token may not do what their steps do with it, and
// called workflows that are granted less than they ask for or use. A workflow
// without permissions has what a new repository gives.
func checkGrants(w workflow) (err error) {
	if w.isAction() || get(w.root, "on", "workflow_call") != nil {
		return nil
	}
	for _, job := range pairs(get(w.root, "jobs")) {
		perms := get(job[1], "permissions")
		if perms == nil {
			perms = get(w.root, "permissions")
		}
		granted := []string{"contents: read"}
		if perms != nil {
			granted = nil
			for _, p := range pairs(perms) {
				granted = append(granted, p[0].Value+": "+p[1].Value)
				if p[1].Value == "write" {
					granted = append(granted, p[0].Value+": read")
				}
			}
		}
		for _, step := range append(stepsOf(job[1]), job[1]) {
			uses := text(get(step, "uses"))
			for _, n := range needed {
				if !n.uses.MatchString(uses) {
					continue
				}
				wants := slices.Clone(n.always)
				for input, permission := range n.inputs {
					v := get(step, "with", input)
					if v == nil && slices.Contains(n.on, input) || v != nil && v.Value != "false" && v.Value != "" {
						wants = append(wants, permission)
					}
				}
				for _, p := range wants {
					if !slices.Contains(granted, p) {
						err = errors.Join(err, fmt.Errorf("%s/%s: %s needs %s, and the job has %q", w.name, job[0].Value, uses, p, granted))
					}
				}
			}
		}
	}
	return err
}

// present are the parts of contexts that are not empty, by event. Those of
// workflow_call are its caller's.
var present = map[string]string{
	"":                    `github\.(workflow|ref|sha|run_id|repository|event_name)`,
	"pull_request":        `github\.(head_ref|base_ref|event\.pull_request\.\w+|event\.number)`,
	"pull_request_target": `github\.(head_ref|base_ref|event\.pull_request\.\w+|event\.number)`,
	"merge_group":         `github\.event\.merge_group\.\w+`,
	"workflow_run":        `github\.event\.workflow_run\.(id|head_branch|head_sha|head_repository\.full_name)`,
}

// eventsOf are the events that a workflow runs on. Whoever requires what runs on
// pull requests adds a merge queue some day.
func eventsOf(w workflow) (events []string) {
	on := get(w.root, "on")
	switch {
	case on == nil:
	case on.Kind == yaml.ScalarNode:
		events = []string{on.Value}
	case on.Kind == yaml.SequenceNode:
		events = lines(on)
	default:
		for _, p := range pairs(on) {
			events = append(events, p[0].Value)
		}
	}
	if slices.Contains(events, "pull_request") {
		events = append(events, "merge_group")
	}
	return events
}

// checkConcurrency finds groups of which an expression is empty for an event:
// all that it does not tell apart would cancel each other.
func checkConcurrency(w workflow) (err error) {
	nodes := []*yaml.Node{get(w.root, "concurrency")}
	for _, job := range pairs(get(w.root, "jobs")) {
		nodes = append(nodes, get(job[1], "concurrency"))
	}
	for _, n := range nodes {
		if n == nil {
			continue
		}
		group := text(n)
		if n.Kind == yaml.MappingNode {
			group = text(get(n, "group"))
		}
		if group == "" {
			err = errors.Join(err, fmt.Errorf("%s:%d: a concurrency group without a name", w.name, n.Line))
		}
		for _, m := range regexp.MustCompile(`\$\{\{(.*?)\}\}`).FindAllStringSubmatch(group, -1) {
			for _, event := range eventsOf(w) {
				known := regexp.MustCompile(`^('[^']+'|` + present[""] + `|` + present[event] + `)$`)
				if present[event] == "" {
					known = regexp.MustCompile(`^('[^']+'|` + present[""] + `)$`)
				}
				if !slices.ContainsFunc(strings.Split(m[1], "||"), func(s string) bool { return known.MatchString(strings.TrimSpace(s)) }) {
					err = errors.Join(err, fmt.Errorf("%s:%d: the concurrency group's %s is empty on %s: those runs cancel each other", w.name, n.Line, m[0], event))
				}
			}
		}
	}
	return err
}

var stepOutputRE = regexp.MustCompile(`\bsteps\.([\w-]+)\.(outputs\.[\w-]+|outcome|conclusion)`)

// checkOutputs finds outputs that are not set on every path, which are those of a
// step with an `if`, and references to a step that is not there or comes later.
func checkOutputs(w workflow) (err error) {
	check := func(where string, list []*yaml.Node, outputs *yaml.Node) {
		conditional := map[string]bool{} // by id
		for _, step := range list {
			var visit func(*yaml.Node)
			visit = func(n *yaml.Node) {
				for _, m := range stepOutputRE.FindAllStringSubmatch(n.Value, -1) {
					if _, ok := conditional[m[1]]; !ok {
						err = errors.Join(err, fmt.Errorf("%s:%d: %s: no step before this one has the id %s", where, n.Line, m[0], m[1]))
					}
				}
				for _, c := range n.Content {
					visit(c)
				}
			}
			visit(step)
			if id := text(get(step, "id")); id != "" {
				conditional[id] = get(step, "if") != nil
			}
		}
		for _, out := range pairs(outputs) {
			v := out[1]
			if v.Kind == yaml.MappingNode {
				v = get(v, "value")
			}
			found := stepOutputRE.FindAllStringSubmatch(text(v), -1)
			if len(found) == 0 {
				err = errors.Join(err, fmt.Errorf("%s: output %s is of no step", where, out[0].Value))
				continue
			}
			// One of several is enough. Not every path has a report.
			always, missing := strings.Contains(text(get(out[1], "description")), "without `shard`"), false
			for _, m := range found {
				skipped, ok := conditional[m[1]]
				always, missing = always || !skipped, missing || !ok
			}
			if !always || missing {
				err = errors.Join(err, fmt.Errorf("%s: output %s is of step %s, which is not there or may be skipped", where, out[0].Value, found[len(found)-1][1]))
			}
		}
	}
	if w.isAction() {
		check(w.name, stepsOf(get(w.root, "runs")), get(w.root, "outputs"))
	}
	for _, job := range pairs(get(w.root, "jobs")) {
		check(w.name+"/"+job[0].Value, stepsOf(job[1]), get(job[1], "outputs"))
	}
	// The outputs of a reusable workflow are those of its jobs.
	for _, out := range pairs(get(w.root, "on", "workflow_call", "outputs")) {
		m := regexp.MustCompile(`^\$\{\{ jobs\.([\w-]+)\.outputs\.([\w-]+) \}\}$`).FindStringSubmatch(text(get(out[1], "value")))
		if m == nil || get(w.root, "jobs", m[1], "outputs", m[2]) == nil {
			err = errors.Join(err, fmt.Errorf("%s: output %s is of no job", w.name, out[0].Value))
		}
	}
	return err
}

// unlessNothingNew is false only where a plan that succeeded has no kernel.
const unlessNothingNew = "always() && needs.plan.outputs.kernels != '0'"

// checkAlways finds jobs that report on others and are skipped when those fail,
// and steps that keep what the one before them left and do the same.
func checkAlways(w workflow) (err error) {
	for _, job := range pairs(get(w.root, "jobs")) {
		for _, step := range stepsOf(job[1]) {
			if regexp.MustCompile(`^(\./report|elastic/bpf-kernel-check/report@.*)$`).MatchString(text(get(step, "uses"))) &&
				get(job[1], "needs") != nil && text(get(job[1], "if")) != "always()" && text(get(job[1], "if")) != unlessNothingNew {
				err = errors.Join(err, fmt.Errorf("%s/%s: it reports on other jobs: want if: always()", w.name, job[0].Value))
			}
		}
	}
	if !w.isAction() {
		return err
	}
	mayFail := false
	for _, step := range stepsOf(get(w.root, "runs")) {
		keeps := regexp.MustCompile(`^actions/(upload-artifact|cache/save)@`).MatchString(text(get(step, "uses")))
		if mayFail && keeps && !strings.HasPrefix(text(get(step, "if")), "always() && ") {
			err = errors.Join(err, fmt.Errorf("%s:%d: it keeps what a step that may fail has left: want if: always() && ...", w.name, step.Line))
		}
		// The plan's step leaves nothing when it fails.
		mayFail = mayFail || slices.Contains([]string{"run", "report"}, text(get(step, "id")))
	}
	return err
}

// checkDescribed finds inputs and outputs without a description.
func checkDescribed(w workflow) (err error) {
	for _, n := range []*yaml.Node{
		get(w.root, "inputs"), get(w.root, "outputs"), get(w.root, "on", "workflow_call", "inputs"),
		get(w.root, "on", "workflow_call", "outputs"), get(w.root, "on", "workflow_dispatch", "inputs"),
	} {
		for _, p := range pairs(n) {
			if text(get(p[1], "description")) == "" {
				err = errors.Join(err, fmt.Errorf("%s: %s has no description", w.name, p[0].Value))
			}
		}
	}
	return err
}

var githubChecks = map[string]func(workflow) error{
	"grants":      checkGrants,
	"concurrency": checkConcurrency,
	"outputs":     checkOutputs,
	"always":      checkAlways,
	"described":   checkDescribed,
}

func TestWorkflowsModel(t *testing.T) {
	files := readRepository(t)
	for name, text := range documentWorkflows(t) {
		files[name] = text
	}
	for name, text := range files {
		w, err := readWorkflow(name, text)
		if err != nil {
			t.Fatal(err)
		}
		for check, run := range githubChecks {
			if err := run(w); err != nil {
				t.Errorf("%s: %v", check, err)
			}
		}
	}

	// Each check finds what it is for.
	const caller = "on: push\njobs:\n  a:\n    uses: elastic/bpf-kernel-check/.github/workflows/check.yml@v1\n    permissions: {contents: read, statuses: write, pull-requests: write}\n    with:\n      test: x\n"
	files["caller.yml"] = []byte(caller)
	for _, tt := range []workflowFault{
		{"grants", "pr.yml", "      statuses: write\n", "", "pr.yml/report: ./report needs statuses: write"},
		{"grants", "nightly.yml", "          comment: false\n", "", "needs pull-requests: write"},
		{"grants", "nightly.yml", "      id-token: write\n", "", "deploy-pages@cd2ce8fcbc39b97be8ca5fce6e763baed58fa128 needs id-token: write"},
		{"grants", "fork-comment.yml", "      actions: read\n", "", "needs actions: read"},
		{"grants", "ci.yml", "    permissions:\n      contents: read\n", "    permissions: {}\n", "needs contents: read"},
		{"grants", "README-1.yml", "  contents: read\n", "", "needs contents: read"},
		{"grants", "README-1.yml", "  pull-requests: write # for the comment\n", "", "needs pull-requests: write"},
		{"grants", "caller.yml", "statuses: write, ", "", "needs statuses: write"},
		{"grants", "caller.yml", "    permissions: {contents: read, statuses: write, pull-requests: write}\n", "", "needs statuses: write"},
		{"grants", "caller.yml", "test: x", "workload-identity-provider: x", "needs id-token: write"},
		{"concurrency", "pr.yml", " || github.ref", "", "is empty on merge_group"},
		{"concurrency", "nightly.yml", "${{ github.workflow }}", "${{ github.head_ref }}", "is empty on schedule"},
		{"concurrency", "fork-comment.yml", "github.event.workflow_run.head_branch", "github.event.pull_request.number", "is empty on workflow_run"},
		{"concurrency", "release.yml", "group: release", "group:", "without a name"},
		{"outputs", "action.yml", "steps.run.outputs.verdict }}", "steps.build.outputs.verdict }}", "output verdict is of step build"},
		{"outputs", "action.yml", "${{ steps.publish.outputs.verdict || steps.run.outputs.verdict }}", "pass", "output verdict is of no step"},
		{"outputs", "action.yml", "steps.publish.outputs.verdict ||", "steps.publsh.outputs.verdict ||", "which is not there"},
		{"outputs", "report/action.yml", "${{ steps.begin.outputs.shard-pattern }}", "${{ steps.report.outputs.shard-pattern }}", "no step before this one has the id report"},
		{"outputs", "pr.yml", "${{ steps.plan.outputs.matrix }}", "${{ steps.shard.outputs.matrix }}", "which is not there"},
		{"outputs", "check.yml", "${{ jobs.report.outputs.verdict }}", "${{ jobs.report.outputs.result }}", "output verdict is of no job"},
		{"always", "pr.yml", "    if: always()\n", "", "pr.yml/report: it reports on other jobs"},
		{"always", "check.yml", "    if: always() &&", "    if: success() &&", "check.yml/report: it reports on other jobs"},
		{"always", "action.yml", "always() && steps.begin.outputs.artifact", "steps.begin.outputs.artifact", "it keeps what a step that may fail has left"},
		{"described", "check.yml", "        description: MiB of each VM\n", "", "memory has no description"},
		{"described", "release.yml", "        description: such as v1.2.3\n", "", "version has no description"},
		{"described", "shard/action.yml", "    description: number of shards\n", "", "shards has no description"},
	} {
		tt.seed(t, files, githubChecks)
	}
	w, err := readWorkflow("caller.yml", []byte(strings.Replace(strings.Replace(caller, ", statuses: write, pull-requests: write", "", 1), "test: x", "status: false\n      comment: false", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := checkGrants(w); err != nil {
		t.Errorf("a caller that publishes nothing: %v", err)
	}
}

// GitHub's own parser, with its schemas of workflows and actions, takes all.
func TestWorkflowsSchema(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	modules, err := installModules(filepath.Join(cache, "bpf-kernel-check-test"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	parse := func(name, text string) (string, error) {
		path := filepath.Join(dir, name)
		put(t, path, text)
		cmd := exec.Command("node", "testdata/act/parse.mjs", path)
		cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	files := readRepository(t)
	for name, text := range documentWorkflows(t) {
		files[name] = text
	}
	args := []string{"testdata/act/parse.mjs"}
	for name, text := range files {
		put(t, filepath.Join(dir, name), string(text))
		args = append(args, filepath.Join(dir, name))
	}
	cmd := exec.Command("node", args...)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, tt := range []struct{ file, old, new, want string }{
		{"pr.yml", "  pull_request:", "  pull_requests:", "Unexpected value 'pull_requests'"},
		{"pr.yml", "needs: plan", "needs: plans", "unknown job 'plans'"},
		{"check.yml", "type: boolean", "type: bool", "Unexpected value 'bool'"},
		{"check.yml", "startsWith(inputs.runs-on", "beginsWith(inputs.runs-on", "beginsWith"},
		{"release.yml", "      id-token: write", "      workflows: write", "Unexpected value 'workflows'"},
		{"action.yml", "using: composite", "using: shell", "Unexpected value 'shell'"},
		{"shard/action.yml", "      shell: bash\n", "", "shell"},
	} {
		mutant := strings.Replace(string(files[tt.file]), tt.old, tt.new, 1)
		if out, err := parse(tt.file, mutant); mutant == string(files[tt.file]) || err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s with %q: %v\n%s\nwant %s", tt.file, tt.new, err, out, tt.want)
		}
	}
}
