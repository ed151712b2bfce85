// Package githubtest is a GitHub for tests: it validates each call against
// GitHub's own description of its API and remembers what it was told.
package githubtest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// GitHub is GitHub as far as this project calls it. Every request and every
// answer is held against GitHub's own description of the API; what that does
// not say (lengths, pages, who may what, that writes of others come in
// between) is here.
type GitHub struct {
	t      *testing.T
	router routers.Router
	doc    *openapi3.T

	Mu       sync.Mutex // of what the requests change
	id       int64
	SHA      string // the only commit that has statuses
	Login    string // of the token's owner
	App      bool   // the token is an app's, which may not GET /user
	Pulls    []Pull
	Comments []Comment
	Issues   []Issue
	Statuses []map[string]any
	Checks   []map[string]any
	Requests []string    // METHOD /path
	Writes   []time.Time // when a write came in
	NoLabels bool        // the token's owner may not label

	// script answers instead of the fake: a status, with headers and a body. 0: not.
	Script func(method, path string) (int, http.Header, string)
	// after is called when a request was done and before it is answered.
	After func(method, path string)
	// lag is how long a request takes to come in, and its answer to get back.
	Lag func() time.Duration
}

// Pull is a pull request.
type Pull struct {
	Number                   int
	SHA, Repo, Branch, State string
}

// Comment is a comment on a pull request or an issue.
type Comment struct {
	ID     int64
	Issue  int
	Author string
	Body   string
}

// Issue is an issue.
type Issue struct {
	Number        int
	Author        string
	Title, Body   string
	Labels        []string
	State, Reason string
}

// HeadSHA is the head of the pull request, in the repository octo/probe.
const HeadSHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"

//go:embed openapi.json.gz
var openapi []byte

var description = sync.OnceValues(func() (*openapi3.T, error) {
	z, err := gzip.NewReader(bytes.NewReader(openapi))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	return openapi3.NewLoader().LoadFromData(b)
})

// New makes one with an open pull request, number 7, of HeadSHA.
func New(t *testing.T) *GitHub {
	t.Helper()
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &GitHub{
		t: t, doc: doc, router: router, id: 1000, SHA: HeadSHA, Login: "github-actions[bot]", App: true,
		Pulls: []Pull{{Number: 7, SHA: HeadSHA, Repo: "octo/probe", Branch: "topic", State: "open"}},
	}
}

// Transport reaches the fake without a network, so that time stands still in a
// bubble of testing/synctest.
func (f *GitHub) Transport() http.RoundTripper { return transport{f} }

type transport struct{ http.Handler }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.Body = cmp.Or(r.Body, io.ReadCloser(http.NoBody))
	answer := make(chan *http.Response, 1)
	go func() {
		w := httptest.NewRecorder()
		t.ServeHTTP(w, in)
		resp := w.Result()
		resp.Request = r
		answer <- resp
	}()
	select {
	case resp := <-answer:
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func (f *GitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if got := r.Header.Get("Authorization"); got != "Bearer secret" {
		f.t.Errorf("%s %s with the authorization %q", r.Method, r.URL, got)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		return
	}
	if f.Lag != nil {
		time.Sleep(f.Lag())
	}
	f.Mu.Lock()
	if r.Method != http.MethodGet && r.URL.Path != "/graphql" {
		f.Writes = append(f.Writes, time.Now())
	}
	f.Requests = append(f.Requests, r.Method+" "+r.URL.Path)
	script := f.Script
	f.Mu.Unlock()

	if script != nil {
		if code, header, text := script(r.Method, r.URL.Path); code != 0 {
			maps.Copy(w.Header(), header)
			w.WriteHeader(code)
			fmt.Fprint(w, text)
			return
		}
	}
	if r.URL.Path == "/graphql" { // not of the REST API's description
		if string(body) != `{"query":"{viewer{login}}"}`+"\n" {
			f.t.Errorf("graphql was asked %s", body)
		}
		fmt.Fprintf(w, `{"data":{"viewer":{"login":%q}}}`, f.Login)
		return
	}
	in := f.validRequest(r, body)
	if in == nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	f.Mu.Lock()
	code, answer := f.handle(r, body, w.Header(), in.PathParams)
	f.Mu.Unlock()
	if f.After != nil {
		f.After(r.Method, r.URL.Path)
	}
	var text []byte
	if answer != nil {
		if text, err = json.Marshal(answer); err != nil {
			f.t.Error(err)
		}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: code, Header: w.Header(),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	out.SetBodyBytes(text)
	// The description leaves 404 out here and there.
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil && code != http.StatusNotFound {
		f.t.Errorf("the fake's answer to %s %s is not GitHub's: %v", r.Method, r.URL, err)
	}
	if f.Lag != nil {
		time.Sleep(f.Lag())
	}
	w.WriteHeader(code)
	_, _ = w.Write(text)
}

// validRequest holds a request against the description.
func (f *GitHub) validRequest(r *http.Request, body []byte) *openapi3filter.RequestValidationInput {
	r.URL.Scheme, r.URL.Host = "https", "api.github.com"
	r.Host = r.URL.Host
	route, params, err := f.router.FindRoute(r)
	if err != nil {
		f.t.Errorf("%s %s is no call of the API: %v", r.Method, r.URL, err)
		return nil
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, RejectWhenRequestBodyNotSpecified: true},
	}
	if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
		f.t.Errorf("%s %s %.500s: %v", r.Method, r.URL, body, err)
		return nil
	}
	// The description allows further fields nearly everywhere.
	known := map[string]bool{}
	if op := route.Operation.RequestBody; op != nil {
		for name := range op.Value.Content.Get("application/json").Schema.Value.Properties {
			known[name] = true
		}
		var sent map[string]any
		if err := json.Unmarshal(body, &sent); err != nil {
			f.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		for name := range sent {
			if !known[name] {
				f.t.Errorf("%s %s sends %q, which the API does not know", r.Method, r.URL, name)
			}
		}
	}
	return in
}

var digits = regexp.MustCompile(`\d+`)

// handle does what a request asks for.
func (f *GitHub) handle(r *http.Request, body []byte, header http.Header, params map[string]string) (int, any) {
	var in struct {
		Body, Title, State, Description, Context string
		StateReason                              string `json:"state_reason"`
		TargetURL                                string `json:"target_url"`
		Labels                                   []string
		Output                                   struct {
			Summary     string
			Annotations []map[string]any
		}
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &in); err != nil {
			f.t.Error(err)
		}
	}
	num := func(key string) int64 {
		n, err := strconv.ParseInt(params[key], 10, 64)
		if err != nil {
			f.t.Error(err)
		}
		return n
	}
	if utf8.RuneCountInString(in.Body) > 65536 {
		return refuse("body is too long (maximum is 65536 characters)")
	}
	_, what, _ := strings.Cut(r.URL.Path, "/repos/octo/probe/")
	switch r.Method + " " + digits.ReplaceAllString(what, "N") {
	case "GET ":
		if r.URL.Path != "/user" {
			f.t.Errorf("GET %s", r.URL.Path)
		}
		if f.App {
			return http.StatusForbidden, map[string]any{"message": "Resource not accessible by integration"}
		}
		return http.StatusOK, f.example("private-user-response-with-public-and-private-profile-information", map[string]any{"login": f.Login, "user_view_type": "private"})
	case "GET pulls/N":
		i := slices.IndexFunc(f.Pulls, func(p Pull) bool { return int64(p.Number) == num("pull_number") })
		if i < 0 {
			return notFound()
		}
		return http.StatusOK, f.pull("pull-request", f.Pulls[i])
	case "GET pulls":
		var list []any
		for _, p := range f.Pulls {
			owner, _, _ := strings.Cut(p.Repo, "/")
			if p.State == r.URL.Query().Get("state") && r.URL.Query().Get("head") == owner+":"+p.Branch {
				list = append(list, f.pull("pull-request-simple-items", p))
			}
		}
		return f.page(r, header, list)
	case "GET issues/N/comments":
		var list []any
		for _, c := range f.Comments {
			if int64(c.Issue) == num("issue_number") {
				list = append(list, f.comment(c))
			}
		}
		return f.page(r, header, list)
	case "POST issues/N/comments":
		f.id++
		c := Comment{ID: f.id, Issue: int(num("issue_number")), Author: f.Login, Body: in.Body}
		f.Comments = append(f.Comments, c)
		return http.StatusCreated, f.comment(c)
	case "PATCH issues/comments/N":
		i := f.find(num("comment_id"))
		if i < 0 {
			return notFound()
		}
		f.Comments[i].Body = in.Body
		return http.StatusOK, f.comment(f.Comments[i])
	case "DELETE issues/comments/N":
		i := f.find(num("comment_id"))
		if i < 0 {
			return notFound()
		}
		f.Comments = slices.Delete(f.Comments, i, i+1)
		return http.StatusNoContent, nil
	case "POST statuses/" + digits.ReplaceAllString(f.SHA, "N"):
		if utf8.RuneCountInString(in.Description) > 140 {
			return refuse("description is too long (maximum is 140 characters)")
		}
		s := map[string]any{"state": in.State, "context": in.Context, "description": in.Description, "target_url": in.TargetURL}
		f.Statuses = append(f.Statuses, s)
		return http.StatusCreated, f.example("status", s)
	case "GET commits/" + digits.ReplaceAllString(f.SHA, "N") + "/statuses":
		var list []any
		for _, s := range slices.Backward(f.Statuses) {
			list = append(list, f.example("status-items", s))
		}
		return f.page(r, header, list)
	case "POST check-runs":
		if utf8.RuneCountInString(in.Output.Summary) > 65535 || len(in.Output.Annotations) > 50 {
			f.t.Errorf("a check run with a summary of %d and %d annotations", len(in.Output.Summary), len(in.Output.Annotations))
		}
		var sent map[string]any
		if err := json.Unmarshal(body, &sent); err != nil {
			f.t.Error(err)
		}
		f.Checks = append(f.Checks, sent)
		return http.StatusCreated, f.example("check-run-example-of-completed-conclusion", map[string]any{"id": 4})
	case "GET issues":
		var list []any
		for _, i := range slices.Backward(f.Issues) {
			if slices.Contains(i.Labels, r.URL.Query().Get("labels")) && cmp.Or(r.URL.Query().Get("state"), "open") == "all" {
				list = append(list, f.issue("issue-items", i))
			}
		}
		return f.page(r, header, list)
	case "POST issues":
		f.id++
		i := Issue{Number: int(f.id), Author: f.Login, Title: in.Title, Body: in.Body, Labels: in.Labels, State: "open"}
		if f.NoLabels {
			i.Labels = nil
		}
		f.Issues = append(f.Issues, i)
		return http.StatusCreated, f.issue("issue", i)
	case "PATCH issues/N":
		for i := range f.Issues {
			row := &f.Issues[i]
			if int64(row.Number) != num("issue_number") {
				continue
			}
			row.Body, row.State, row.Reason = cmp.Or(in.Body, row.Body), cmp.Or(in.State, row.State), cmp.Or(in.StateReason, row.Reason)
			return http.StatusOK, f.issue("issue", *row)
		}
		return notFound()
	}
	f.t.Errorf("the fake does not know %s %s", r.Method, r.URL)
	return notFound()
}

func notFound() (int, any) { return http.StatusNotFound, map[string]any{"message": "Not Found"} }

func refuse(why string) (int, any) {
	return http.StatusUnprocessableEntity, map[string]any{
		"message": "Validation Failed", "documentation_url": "https://docs.github.com", "errors": []any{map[string]any{"message": why, "code": "custom"}},
	}
}

func (f *GitHub) find(id int64) int {
	return slices.IndexFunc(f.Comments, func(c Comment) bool { return c.ID == id })
}

// page cuts a list as GitHub does.
func (f *GitHub) page(r *http.Request, header http.Header, list []any) (int, any) {
	q := r.URL.Query()
	page, size := 1, 30
	if n, err := strconv.Atoi(q.Get("page")); err == nil {
		page = n
	}
	if n, err := strconv.Atoi(q.Get("per_page")); err == nil {
		size = n
	}
	if size > 100 {
		f.t.Errorf("%s: GitHub gives 100 at a time", r.URL)
		size = 100
	}
	from, to := min((page-1)*size, len(list)), min(page*size, len(list))
	if to < len(list) {
		q.Set("page", strconv.Itoa(page+1))
		header.Set("Link", fmt.Sprintf(`<https://api.github.com%s?%s>; rel="next"`, r.URL.Path, q.Encode()))
	}
	return http.StatusOK, append([]any{}, list[from:to]...)
}

// example is an object of the description's with some of its fields changed.
func (f *GitHub) example(name string, change map[string]any) map[string]any {
	b, err := json.Marshal(f.doc.Components.Examples[name].Value.Value)
	if err != nil {
		f.t.Fatal(err)
	}
	var o map[string]any
	if bytes.HasPrefix(b, []byte("[")) {
		var list []map[string]any
		err = json.Unmarshal(b, &list)
		o = list[0]
	} else {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	maps.Copy(o, change)
	return o
}

func (f *GitHub) comment(c Comment) any {
	o := f.example("issue-comment", map[string]any{"id": c.ID, "body": c.Body})
	o["user"].(map[string]any)["login"] = c.Author
	return o
}

func (f *GitHub) issue(example string, i Issue) any {
	labels := []any{}
	for _, l := range i.Labels {
		labels = append(labels, map[string]any{"id": 1, "node_id": "x", "url": "https://x", "name": l, "description": "", "color": "ffffff", "default": false})
	}
	o := f.example(example, map[string]any{"number": i.Number, "title": i.Title, "body": i.Body, "state": i.State, "labels": labels})
	delete(o, "pull_request")
	o["user"].(map[string]any)["login"] = i.Author
	return o
}

func (f *GitHub) pull(example string, p Pull) any {
	// The example's teams lack a field that the description demands.
	o := f.example(example, map[string]any{"number": p.Number, "state": p.State, "requested_teams": []any{}})
	head := o["head"].(map[string]any)
	head["sha"], head["ref"] = p.SHA, p.Branch
	head["repo"].(map[string]any)["full_name"] = p.Repo
	return o
}

// Asked counts the requests that begin with a text.
func (f *GitHub) Asked(prefix string) int {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	n := 0
	for _, r := range f.Requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}
