package github

import (
	"context"

	gh "github.com/google/go-github/v62/github"
)

// checkRun makes a completed check run with annotations, fewer than the 50 that
// GitHub takes in a request. They are of no file, and stand where the runner puts
// those that are not.
func (p *publisher) checkRun(ctx context.Context) error {
	// Neutral counts as passed where the check is required.
	conclusion := "failure"
	switch {
	case p.green():
		conclusion = "success"
	case p.content.Advisory:
		conclusion = "neutral"
	}
	var annotations []*gh.CheckRunAnnotation
	for _, a := range p.content.Annotations {
		title, message := clip(a.Title, 250), cutBytes(clean(a.Message), maxMessage)
		if message == "" {
			message = title
		}
		annotations = append(annotations, &gh.CheckRunAnnotation{
			Path: gh.String(".github"), StartLine: gh.Int(1), EndLine: gh.Int(1), AnnotationLevel: gh.String("failure"), Title: &title, Message: &message,
		})
	}
	_, _, err := p.api.Checks.CreateCheckRun(ctx, p.api.owner, p.api.repo, gh.CreateCheckRunOptions{
		Name: p.cfg.Name, HeadSHA: p.origin.sha, DetailsURL: gh.String(p.runURL()), Status: gh.String("completed"), Conclusion: &conclusion,
		Output: &gh.CheckRunOutput{
			Title:       gh.String(clip(p.content.Status, 250)),
			Summary:     gh.String(within(p.content.Body, maxCheckOutput, "The result is too long: the job summary of the run has it.")),
			Annotations: annotations,
		},
	})
	return err
}
