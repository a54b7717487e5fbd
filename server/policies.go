package server

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility/policy"
)

// A Policy is a policy in force, or a file that was refused, or both: a policy whose newer file was refused.
type Policy struct {
	Name     string   `json:"name"`
	File     string   `json:"file"`
	Revision string   `json:"revision"`
	Models   []string `json:"models" nullable:"false" doc:"Globs of the names of the models it watches."`
	Source   string   `json:"source"`
	Warnings []string `json:"warnings,omitempty"`
	Error    string   `json:"error,omitempty" doc:"What is wrong with the file, with line and caret. The policy in force is then an older one."`
}

// maxPolicyBody bounds the body that puts a policy in force: the source and its escapes, in bytes.
const maxPolicyBody = 1 << 20

func (s *server) policyRoutes(api huma.API) {
	register(s, api, get("list-policies", "/policies", "List the policies in force, and what is wrong with files that were refused"), s.listPolicies)
	register(s, api, post("check-policy", "/policies/check", "Check a policy file, without putting it in force"), s.checkPolicy)
	apply := post("apply-policy", "/policies/{policy}", "Put a policy in force, in the directory of policies")
	apply.Description = "It may decide otherwise, but not train by a command or a webhook that no policy in force has, nor ask another Prometheus: those are written in the directory."
	apply.MaxBodyBytes = maxPolicyBody
	register(s, api, apply, s.applyPolicy)
}

// remarks are warnings with their places, a line each.
func remarks(all policy.Errors) []string {
	var lines []string
	for _, w := range all {
		lines = append(lines, w.String())
	}
	return lines
}

func (s *server) listPolicies(context.Context, *struct{}) (*reply[pageOf[Policy]], error) {
	var items []Policy
	for _, p := range s.Engine.Policies() {
		items = append(items, policyItem(p))
	}
	for _, err := range s.Engine.PolicyErrors() {
		items = addPolicyError(items, err)
	}
	return page(items, ""), nil
}

func policyItem(p *policy.Policy) Policy {
	return Policy{
		Name: p.Name, File: p.File, Revision: p.Revision, Models: slices.Concat([]string{}, p.Models),
		Source: string(p.Source), Warnings: remarks(p.Warnings),
	}
}

// addPolicyError puts an error to the policy that it is about, or beside them.
func addPolicyError(items []Policy, err error) []Policy {
	file := ""
	if one, ok := errors.AsType[*policy.Error](err); ok {
		file = one.File
	}
	at := slices.IndexFunc(items, func(p Policy) bool { return file != "" && p.File == file })
	if at < 0 {
		base := filepath.Base(file)
		if file == "" {
			base = ""
		}
		items = append(items, Policy{Name: strings.TrimSuffix(strings.TrimSuffix(base, ".yaml"), ".yml"), File: file, Models: []string{}})
		at = len(items) - 1
	}
	p := &items[at]
	if p.Error != "" {
		p.Error += "\n"
	}
	p.Error += err.Error()
	return items
}

// A PolicyText is a policy file in an editor.
type PolicyText struct {
	Name   string `json:"name,omitempty" maxLength:"256" doc:"The name of the file, which names the policy unless the file says otherwise. Defaults to policy.yaml."`
	Source string `json:"source" doc:"The text of the file."`
}

// A PolicyCheck says what is wrong with a policy file, or what it says.
type PolicyCheck struct {
	Valid    bool          `json:"valid"`
	Errors   []PolicyFault `json:"errors" nullable:"false" doc:"Every fault, in the order of the file."`
	Warnings []string      `json:"warnings" nullable:"false" doc:"The policy is good, but perhaps not meant so."`
	Policy   *Policy       `json:"policy,omitempty" doc:"The policy, if it is valid."`
}

// A PolicyFault is one fault of a policy file.
type PolicyFault struct {
	Line       int    `json:"line" doc:"From 1; 0 when the fault has no place."`
	Column     int    `json:"column" doc:"From 1, in characters."`
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty" doc:"What was probably meant."`
	Excerpt    string `json:"excerpt,omitempty" doc:"The line with a caret under the column."`
}

func (s *server) checkPolicy(_ context.Context, in *struct{ Body PolicyText }) (*reply[PolicyCheck], error) {
	file := filepath.Base(in.Body.Name) // the name alone is looked at, never a path
	if in.Body.Name == "" {
		file = "policy.yaml"
	}
	check := PolicyCheck{Errors: []PolicyFault{}, Warnings: []string{}}
	p, err := policy.Parse(file, []byte(in.Body.Source))
	if faults, ok := errors.AsType[policy.Errors](err); ok {
		for _, e := range faults {
			check.Errors = append(check.Errors, PolicyFault{e.Line, e.Column, e.Message, e.Suggestion, e.Excerpt})
		}
	} else if err != nil {
		return nil, err
	} else {
		listed := policyItem(p)
		check.Valid, check.Policy = true, &listed
		check.Warnings = append(check.Warnings, remarks(p.Warnings)...)
	}
	return &reply[PolicyCheck]{check}, nil
}

// A PolicyChange is a policy to put in force.
type PolicyChange struct {
	Source   string `json:"source" minLength:"1" doc:"The text of the file."`
	Revision string `json:"revision,omitempty" maxLength:"64" doc:"The revision that it takes the place of: that of the policy in force. Empty for a new policy."`
	Asker
}

func (s *server) applyPolicy(ctx context.Context, in *struct {
	Policy string `path:"policy" maxLength:"128" doc:"The name of the policy."`
	Body   PolicyChange
}) (*reply[Policy], error) {
	p, err := act(ctx, s, func(ctx context.Context) (*policy.Policy, error) {
		return s.Engine.ApplyPolicy(ctx, in.Policy, in.Body.Revision, []byte(in.Body.Source), who(in.Body.By))
	})
	if faults, ok := errors.AsType[policy.Errors](err); ok {
		return nil, policyProblem(policyFaults("body.source", faults))
	} else if err != nil {
		return nil, err
	}
	return &reply[Policy]{policyItem(p)}, nil
}
