package github

import (
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

// api is the REST API with the patience that GitHub asks for. go-github itself
// retries nothing.
type api struct {
	*gh.Client
	owner, repo string
	graphql     string
	wrote       time.Time // when the last write was done
	log         io.Writer // that says what is waited for
}

func newAPI(e Env, transport http.RoundTripper) (*api, error) {
	hc := &http.Client{
		Transport: cappedAnswers{transport},
		// The client would carry the token along to wherever it is sent.
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if first := via[0].URL; req.URL.Host != first.Host || req.URL.Scheme != first.Scheme || len(via) > 5 {
				return fmt.Errorf("redirected to %s://%s, where the token must not go", req.URL.Scheme, req.URL.Host)
			}
			return nil
		},
	}
	client := gh.NewClient(hc).WithAuthToken(e.Token)
	base, err := client.BaseURL.Parse(strings.TrimRight(e.API, "/") + "/")
	if err != nil {
		return nil, fmt.Errorf("GITHUB_API_URL: %w", err)
	}
	client.BaseURL = base
	client.UserAgent = "bpf-kernel-check"
	// https://api.github.com/graphql, or https://HOST/api/graphql of a server
	// whose REST API is at https://HOST/api/v3.
	graphql := strings.TrimSuffix(base.String(), "v3/") + "graphql"
	return &api{Client: client, owner: e.Owner, repo: e.Repo, graphql: graphql, log: io.Discard}, nil
}

// cappedAnswers ends an answer that is too long to be one with an error.
type cappedAnswers struct{ next http.RoundTripper }

func (c cappedAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &cappedBody{resp.Body, maxAnswer}
	return resp, nil
}

type cappedBody struct {
	io.ReadCloser
	left int64
}

var errLongAnswer = errors.New("the answer is too long")

func (b *cappedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLongAnswer
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// kind says what may be done again when it is not known whether it was done.
type kind uint8

const (
	read   kind = iota
	set         // a write that may be done twice
	create      // a write that makes a second one when it is done twice
)

// do calls f until it succeeds, fails for good or the time is up. Within ctx
// writes are a second apart.
func (a *api) do(ctx context.Context, k kind, f func(context.Context) error) error {
	for try := 1; ; try++ {
		if k != read {
			if err := a.pace(ctx); err != nil {
				return err
			}
		}
		err := once(ctx, f)
		if k != read {
			a.wrote = time.Now()
		}
		if err == nil {
			return nil
		}
		wait, again := retry(err, k, try)
		if !again || try == maxTries || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(a.log, "GitHub did not take attempt %d of %d of a request; the next is in %v\n", try, maxTries, wait.Round(time.Second/10))
		if sleep(ctx, wait) != nil {
			return err
		}
	}
}

// pace waits until the next write may be done.
func (a *api) pace(ctx context.Context) error {
	return sleep(ctx, betweenTime-time.Since(a.wrote))
}

func once(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTime, errNoAnswer)
	defer cancel()
	err := f(ctx)
	if err != nil && context.Cause(ctx) == errNoAnswer {
		return errNoAnswer
	}
	return err
}

var errNoAnswer = fmt.Errorf("no answer within %s", requestTime)

// sleep waits, but not when the time would be up before.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return context.DeadlineExceeded
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retry says whether and after what time a request is worth another try.
func retry(err error, k kind, try int) (time.Duration, bool) {
	backoff := time.Second << try
	var limit *gh.RateLimitError
	var abuse *gh.AbuseRateLimitError
	var answer *gh.ErrorResponse
	switch {
	case errors.As(err, &limit):
		return max(time.Until(limit.Rate.Reset.Time)+time.Second, time.Second), true
	case errors.As(err, &abuse):
		if abuse.RetryAfter != nil {
			return max(*abuse.RetryAfter, time.Second), true
		}
		return secondary, true
	case errors.As(err, &answer):
		// go-github knows rate limits as 403 with certain texts only.
		after, told := retryAfter(answer.Response)
		switch c := answer.Response.StatusCode; {
		case c == http.StatusTooManyRequests, c == http.StatusForbidden && told:
			return after, true
		case c >= 500:
			if told {
				backoff = after
			}
			return backoff, k != create
		}
		return 0, false
	}
	return backoff, k != create && outcomeUnknown(err)
}

// outcomeUnknown says whether it is not known if a request that ended with err was done.
func outcomeUnknown(err error) bool {
	var answer *gh.ErrorResponse
	if errors.As(err, &answer) {
		return answer.Response.StatusCode >= 500
	}
	var network net.Error
	return errors.Is(err, errNoAnswer) || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// retryAfter is what the answer says about when to come again, a minute
// otherwise.
func retryAfter(resp *http.Response) (time.Duration, bool) {
	if n, err := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 32); err == nil && n >= 0 {
		return max(time.Duration(n)*time.Second, time.Second), true
	}
	if resp.Header.Get("X-RateLimit-Remaining") == "0" {
		if n, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64); err == nil {
			return max(time.Until(time.Unix(n, 0))+time.Second, time.Second), true
		}
	}
	return secondary, false
}

// pages calls list for each page of a list.
func pages(ctx context.Context, a *api, list func(context.Context, gh.ListOptions) (*gh.Response, error)) error {
	opts := gh.ListOptions{Page: 1, PerPage: 100}
	for range maxPages {
		next := 0
		err := a.do(ctx, read, func(ctx context.Context) error {
			resp, err := list(ctx, opts)
			if err == nil {
				next = resp.NextPage
			}
			return err
		})
		if err != nil || next == 0 {
			return err
		}
		if next <= opts.Page {
			return fmt.Errorf("page %d is followed by page %d", opts.Page, next)
		}
		opts.Page = next
	}
	return fmt.Errorf("more than %d pages", maxPages)
}

// viewer is the login of the token's owner.
func (a *api) viewer(ctx context.Context) (string, error) {
	var login string
	err := a.do(ctx, read, func(ctx context.Context) error {
		user, _, err := a.Users.Get(ctx, "")
		login = user.GetLogin()
		return err
	})
	if status(err) != http.StatusForbidden {
		return login, err
	}
	// Tokens of GitHub apps, that of Actions among them, may not ask so, and
	// the REST API tells them in no other way.
	err = a.do(ctx, read, func(ctx context.Context) error {
		req, err := a.NewRequest(http.MethodPost, a.graphql, map[string]string{"query": "{viewer{login}}"})
		if err != nil {
			return err
		}
		var answer struct {
			Data struct{ Viewer struct{ Login string } }
		}
		_, err = a.Do(ctx, req, &answer)
		login = answer.Data.Viewer.Login
		return err
	})
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
