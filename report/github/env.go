package github

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Env is what a workflow job's environment says. Fields are empty or zero where
// it says nothing.
type Env struct {
	Actions bool   // whether this is a job of GitHub Actions
	API     string // such as https://api.github.com
	Server  string // such as https://github.com
	Owner   string
	Repo    string
	RunID   int64
	Attempt int    // of the run, from 1
	Event   string // such as pull_request
	Payload string // path of the event's JSON
	SHA     string // of what was checked out; for a pull request a merge, not its head
	Ref     string // such as refs/heads/main
	Token   string
	Summary string // path of the job summary's file
	Output  string // path of the outputs' file
}

var (
	nameRE = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)
	shaRE  = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// ReadEnv reads the variables that GitHub Actions sets, and the token from
// GITHUB_TOKEN or GH_TOKEN. An error names the variable; what was read before
// it stands in the Env, of which the paths always can be used.
func ReadEnv(getenv func(string) string) (Env, error) {
	e := Env{
		Actions: getenv("GITHUB_ACTIONS") == "true",
		API:     getenv("GITHUB_API_URL"),
		Server:  getenv("GITHUB_SERVER_URL"),
		Event:   getenv("GITHUB_EVENT_NAME"),
		Payload: getenv("GITHUB_EVENT_PATH"),
		SHA:     getenv("GITHUB_SHA"),
		Ref:     getenv("GITHUB_REF"),
		Token:   strings.TrimSpace(getenv("GITHUB_TOKEN")),
		Summary: getenv("GITHUB_STEP_SUMMARY"),
		Output:  getenv("GITHUB_OUTPUT"),
	}
	if e.Token == "" {
		e.Token = strings.TrimSpace(getenv("GH_TOKEN"))
	}
	for _, u := range []struct{ key, value string }{
		{"GITHUB_API_URL", e.API}, {"GITHUB_SERVER_URL", e.Server},
	} {
		if u.value == "" {
			continue
		}
		p, err := url.Parse(u.value)
		if err != nil || p.Host == "" || (p.Scheme != "https" && p.Scheme != "http") {
			return e, fmt.Errorf("%s is %q: want a URL such as https://api.github.com", u.key, u.value)
		}
	}
	if v := getenv("GITHUB_REPOSITORY"); v != "" {
		owner, repo, _ := strings.Cut(v, "/")
		if !nameRE.MatchString(owner) || !nameRE.MatchString(repo) || strings.Trim(owner, ".") == "" || strings.Trim(repo, ".") == "" {
			return e, fmt.Errorf("GITHUB_REPOSITORY is %q: want OWNER/NAME", v)
		}
		e.Owner, e.Repo = owner, repo
	}
	if v := getenv("GITHUB_RUN_ID"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 1 {
			return e, fmt.Errorf("GITHUB_RUN_ID is %q: want a number from 1", v)
		}
		e.RunID = n
	}
	if v := getenv("GITHUB_RUN_ATTEMPT"); v != "" {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 1 {
			return e, fmt.Errorf("GITHUB_RUN_ATTEMPT is %q: want a number from 1", v)
		}
		e.Attempt = int(n)
	}
	if e.SHA != "" && !shaRE.MatchString(e.SHA) {
		return e, fmt.Errorf("GITHUB_SHA is %q: want a commit's hash", e.SHA)
	}
	return e, nil
}

// online says what the API cannot be called without.
func (e Env) online() error {
	for _, v := range []struct {
		key string
		set bool
	}{
		{"GITHUB_API_URL", e.API != ""},
		{"GITHUB_SERVER_URL", e.Server != ""},
		{"GITHUB_REPOSITORY", e.Owner != ""},
		{"GITHUB_RUN_ID", e.RunID != 0},
	} {
		if !v.set {
			return fmt.Errorf("%s is not set: it can only be done in a job of GitHub Actions", v.key)
		}
	}
	if e.Token == "" {
		return fmt.Errorf("there is no token: leave the action's input token away, or set GITHUB_TOKEN to ${{ github.token }} in the env of a step that runs publish")
	}
	return nil
}
