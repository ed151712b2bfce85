package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	gh "github.com/google/go-github/v62/github"
)

// explain says in one line why GitHub did not take something and what can be
// done about it. permission is what the job needs, such as "statuses: write".
func explain(err error, permission string) string {
	var limit *gh.RateLimitError
	var abuse *gh.AbuseRateLimitError
	var answer *gh.ErrorResponse
	switch {
	case errors.As(err, &limit), errors.As(err, &abuse), status(err) == http.StatusTooManyRequests:
		return "the rate limit is used up, and waiting for it would take too long"
	case errors.As(err, &answer):
		text := fmt.Sprintf("%d %s", answer.Response.StatusCode, clip(answer.Message, 200))
		for i, e := range answer.Errors {
			if i == 3 {
				break
			}
			text += ", " + clip(e.Field+" "+e.Message, 100)
		}
		switch answer.Response.StatusCode {
		case http.StatusUnauthorized:
			text += ": the token is not valid, or no longer"
		case http.StatusForbidden, http.StatusNotFound:
			text += fmt.Sprintf(": give the job `permissions: %s`; for pull requests from forks and of Dependabot the token is read-only, see Pull requests from forks in the documentation of publish", permission)
		}
		return text
	case errors.Is(err, errNoAnswer):
		return errNoAnswer.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("GitHub did not answer in time, %s for all", totalTime)
	}
	return clip(err.Error(), 300)
}
