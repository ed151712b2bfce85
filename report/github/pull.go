package github

import (
	"context"
	"fmt"
	"strings"

	gh "github.com/google/go-github/v62/github"
)

// pull is the number of the pull request in question; why says why there is
// none.
func (p *publisher) pull(ctx context.Context) (pr int, why string, err error) {
	o := p.origin
	switch {
	case o.pr != 0:
		return o.pr, "", nil
	case !o.find:
		return 0, fmt.Sprintf("no comment: a %s event has no pull request", clip(o.event, 60)), nil
	}
	// GitHub does not say it for forks, and what a fork's run left behind is
	// not to be believed. The commit alone is not enough either: GitHub finds
	// no pull request by a commit that only the fork has.
	var numbers []int
	err = pages(func(list gh.ListOptions) (*gh.Response, error) {
		prs, resp, err := p.api.PullRequests.List(ctx, p.api.owner, p.api.repo, &gh.PullRequestListOptions{
			State: "open", Head: o.head.owner + ":" + o.head.branch, ListOptions: list,
		})
		for _, r := range prs {
			if r.GetHead().GetSHA() == o.sha && strings.EqualFold(r.GetHead().GetRepo().GetFullName(), o.head.repo) {
				numbers = append(numbers, r.GetNumber())
			}
		}
		return resp, err
	})
	switch {
	case err != nil:
		return 0, "", err
	case len(numbers) == 0:
		return 0, fmt.Sprintf("no comment: no open pull request has %.12s of %s as its head", o.sha, clip(o.head.repo, 200)), nil
	case len(numbers) > 1:
		return 0, fmt.Sprintf("no comment: %d open pull requests have %.12s of %s as their head, and which of them was tested is not known", len(numbers), o.sha, clip(o.head.repo, 200)), nil
	}
	return numbers[0], "", nil
}
