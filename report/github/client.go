package github

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	gh "github.com/google/go-github/v62/github"
)

// Patience. The job waits for GitHub, so all of it is bounded.
const (
	totalTime   = 90 * time.Second // for everything that is asked of the API
	requestTime = 15 * time.Second // for one request
	betweenTime = time.Second      // between writes, as GitHub asks for
	secondary   = time.Minute      // after a secondary limit without a time, as GitHub asks for
	maxTries    = 4                // of a request
	maxAnswer   = 64 << 20         // bytes; 100 comments of full length are some 30 MB
	maxPages    = 300              // of a list
)

// api is the REST API, reached with patience.
type api struct {
	*gh.Client
	*patient
	owner, repo string
	graphql     string
}

func newAPI(e Env, transport http.RoundTripper) (*api, error) {
	p := &patient{next: transport, log: io.Discard}
	client := gh.NewClient(&http.Client{
		Transport: p,
		// The client would carry the token along to wherever it is sent.
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if first := via[0].URL; req.URL.Host != first.Host || req.URL.Scheme != first.Scheme || len(via) > 5 {
				return fmt.Errorf("redirected to %s://%s, where the token must not go", req.URL.Scheme, req.URL.Host)
			}
			return nil
		},
	}).WithAuthToken(e.Token)
	base, err := client.BaseURL.Parse(strings.TrimRight(e.API, "/") + "/")
	if err != nil {
		return nil, fmt.Errorf("GITHUB_API_URL: %w", err)
	}
	client.BaseURL = base
	client.UserAgent = "bpf-kernel-check"
	// https://api.github.com/graphql, or https://HOST/api/graphql of a server
	// whose REST API is at https://HOST/api/v3.
	graphql := strings.TrimSuffix(base.String(), "v3/") + "graphql"
	return &api{Client: client, patient: p, owner: e.Owner, repo: e.Repo, graphql: graphql}, nil
}

// patient sends requests as GitHub asks for it: writes a second apart, and again
// after the time that an answer names. go-github itself retries nothing.
type patient struct {
	next  http.RoundTripper
	wrote time.Time // when the last write was done
	log   io.Writer // that says what is waited for
}

var (
	errNoAnswer   = fmt.Errorf("no answer within %s", requestTime)
	errLongAnswer = errors.New("the answer is too long")
)

func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	reads := req.Method == http.MethodGet || strings.HasSuffix(req.URL.Path, "/graphql")
	// A POST makes a second one when it is done twice, but for a status.
	repeatable := reads || req.Method != http.MethodPost || strings.Contains(req.URL.Path, "/statuses/")
	for try := 1; ; try++ {
		if !reads {
			if err := p.pace(ctx); err != nil {
				return nil, err
			}
		}
		resp, body, err := p.once(req)
		if !reads {
			p.wrote = time.Now()
		}
		var wait time.Duration
		again := repeatable && !errors.Is(err, errLongAnswer)
		if err != nil {
			wait = time.Second << try
		} else {
			wait, again = retryAfter(resp, body, repeatable, try)
		}
		if !again || try == maxTries || ctx.Err() != nil {
			return resp, err
		}
		fmt.Fprintf(p.log, "GitHub did not take attempt %d of %d of a request; the next is in %v\n", try, maxTries, wait.Round(time.Second/10))
		if sleep(ctx, wait) != nil {
			return resp, err
		}
	}
}

// pace waits until the next write may be done.
func (p *patient) pace(ctx context.Context) error {
	return sleep(ctx, betweenTime-time.Since(p.wrote))
}

// once sends a request and reads the whole answer.
func (p *patient) once(req *http.Request) (resp *http.Response, body []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(req.Context(), requestTime, errNoAnswer)
	defer cancel()
	r := req.Clone(ctx)
	if req.GetBody != nil {
		if r.Body, err = req.GetBody(); err != nil {
			return nil, nil, err
		}
	}
	if resp, err = p.next.RoundTrip(r); err == nil {
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
		if resp.StatusCode < 300 {
			// By it go-github would refuse the next request, for which this waits.
			resp.Header.Del("X-RateLimit-Reset")
		}
	}
	switch {
	case err != nil && context.Cause(ctx) == errNoAnswer:
		return nil, nil, errNoAnswer
	case err == nil && len(body) > maxAnswer:
		return nil, nil, errLongAnswer
	case err != nil:
		return nil, nil, err
	}
	return resp, body, nil
}

// sleep waits, but not when the time would be up before.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return context.DeadlineExceeded
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retryAfter says whether and after what time an answer is worth another try.
func retryAfter(resp *http.Response, body []byte, repeatable bool, try int) (wait time.Duration, again bool) {
	told := true
	if n, err := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 32); err == nil && n >= 0 {
		wait = time.Duration(n) * time.Second
	} else if n, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64); err == nil && resp.Header.Get("X-RateLimit-Remaining") == "0" {
		wait = time.Until(time.Unix(n, 0)) + time.Second
	} else {
		wait, told = secondary, bytes.Contains(body, []byte("secondary rate limit"))
	}
	wait = max(wait, time.Second)
	switch c := resp.StatusCode; {
	case c == http.StatusTooManyRequests, c == http.StatusForbidden && told:
		return wait, true
	case c >= 500 && told:
		return wait, repeatable
	case c >= 500:
		return time.Second << try, repeatable
	}
	return 0, false
}

// outcomeUnknown says whether it is not known if a request that ended with err
// was done.
func outcomeUnknown(err error) bool {
	var answer *gh.ErrorResponse
	if errors.As(err, &answer) {
		return answer.Response.StatusCode >= 500
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// pages calls list for each page of a list.
func pages(list func(gh.ListOptions) (*gh.Response, error)) error {
	opts := gh.ListOptions{Page: 1, PerPage: 100}
	for range maxPages {
		resp, err := list(opts)
		switch {
		case err != nil || resp.NextPage == 0:
			return err
		case resp.NextPage <= opts.Page:
			return fmt.Errorf("page %d is followed by page %d", opts.Page, resp.NextPage)
		}
		opts.Page = resp.NextPage
	}
	return fmt.Errorf("more than %d pages", maxPages)
}

// DescribeToken says in one line what GitHub makes of a job's token when it is
// asked for the repository. The line holds neither of the two, and nothing is
// written to find out what the token may write.
func DescribeToken(ctx context.Context, e Env, transport http.RoundTripper) string {
	if e.Token == "" {
		return "none: give the step GITHUB_TOKEN in its env to have it tried"
	}
	err := e.online()
	if err != nil {
		return "unknown: " + err.Error()
	}
	a, err := newAPI(e, transport)
	if err != nil {
		return "unknown: " + err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	repo, resp, err := a.Repositories.Get(ctx, e.Owner, e.Repo)
	text := "reads the repository, which is public"
	switch {
	case err != nil:
		text = "does not read the repository: " + explain(err, "contents: read")
	case repo.GetPrivate():
		text = "reads the repository, which is private"
	}
	if resp != nil {
		for _, h := range []string{"X-Accepted-GitHub-Permissions", "X-OAuth-Scopes"} {
			if v := resp.Header.Get(h); v != "" {
				text += "; " + h + ": " + clip(v, 60)
			}
		}
	}
	text += `; what it may stands under "GITHUB_TOKEN Permissions" in the log of "Set up job"`
	return strings.ReplaceAll(text, e.Owner+"/"+e.Repo, "OWNER/NAME")
}

// viewer is the login of the token's owner.
func (a *api) viewer(ctx context.Context) (string, error) {
	user, _, err := a.Users.Get(ctx, "")
	if status(err) != http.StatusForbidden {
		return user.GetLogin(), err
	}
	// Tokens of GitHub apps, that of Actions among them, may not ask so, and
	// the REST API tells them in no other way.
	req, err := a.NewRequest(http.MethodPost, a.graphql, map[string]string{"query": "{viewer{login}}"})
	if err != nil {
		return "", err
	}
	var answer struct {
		Data struct{ Viewer struct{ Login string } }
	}
	_, err = a.Do(ctx, req, &answer)
	login := answer.Data.Viewer.Login
	if login == "" && (err == nil || status(err) != 0) {
		return "github-actions[bot]", nil
	}
	return login, err
}

// status is the HTTP status of an error; 0: it has none.
func status(err error) int {
	var limit *gh.RateLimitError
	var abuse *gh.AbuseRateLimitError
	var answer *gh.ErrorResponse
	switch {
	case errors.As(err, &limit), errors.As(err, &abuse):
		return http.StatusTooManyRequests
	case errors.As(err, &answer):
		return answer.Response.StatusCode
	}
	return 0
}
