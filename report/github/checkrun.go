package github

import (
	"context"
	"slices"

	gh "github.com/google/go-github/v62/github"

	"github.com/elastic/bpf-kernel-check/report"
)

const (
	annotationsPerRequest = 50
	maxAnnotations        = 200 // of a check run
)

// checkRun makes a completed check run with annotations. GitHub takes only so
// many in a request; further ones are added.
func (p *publisher) checkRun(ctx context.Context) error {
	// Neutral would count as passed where the check is required.
	conclusion := "failure"
	if p.content.Verdict == report.Pass {
		conclusion = "success"
	}
	name, link, completed := p.cfg.Name, p.runURL(), "completed"
	title := clip(p.content.Status, 250)
	summary := within(p.content.Body, maxCheckOutput, "The result is too long: the job summary of the run has it.")
	list := make([]*gh.CheckRunAnnotation, 0, len(p.content.Annotations))
	for _, a := range p.content.Annotations[:min(len(p.content.Annotations), maxAnnotations)] {
		list = append(list, checkAnnotation(a))
	}
	var id int64
	for batch := range batches(list, annotationsPerRequest) {
		output := &gh.CheckRunOutput{Title: &title, Summary: &summary, Annotations: batch}
		var err error
		if id == 0 {
			var run *gh.CheckRun
			run, _, err = p.api.Checks.CreateCheckRun(ctx, p.api.owner, p.api.repo, gh.CreateCheckRunOptions{
				Name: name, HeadSHA: p.origin.sha, DetailsURL: &link, Status: &completed, Conclusion: &conclusion, Output: output,
			})
			id = run.GetID()
		} else {
			_, _, err = p.api.Checks.UpdateCheckRun(ctx, p.api.owner, p.api.repo, id, gh.UpdateCheckRunOptions{Name: name, Output: output})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// batches is slices.Chunk with one empty batch for an empty list.
func batches[T any](list []T, n int) func(func([]T) bool) {
	if len(list) == 0 {
		return func(yield func([]T) bool) { yield(nil) }
	}
	return slices.Chunk(list, n)
}

// checkAnnotation puts an annotation where the runner puts those that belong to
// no file.
func checkAnnotation(a Annotation) *gh.CheckRunAnnotation {
	path, level, line := ".github", "failure", 1
	title, message := clip(a.Title, 250), cutBytes(clean(a.Message), maxMessage)
	if message == "" {
		message = title
	}
	return &gh.CheckRunAnnotation{Path: &path, StartLine: &line, EndLine: &line, AnnotationLevel: &level, Title: &title, Message: &message}
}
