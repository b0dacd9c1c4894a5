// Command deploycheck checks the files in deploy/ against the types and the restricted Pod
// security standard of Kubernetes, the Compose specification, and the syntax of Dockerfiles.
// It is a separate module, so that latchkey does not depend on these.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	compose "github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	lines "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	security "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	kustomize "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

func main() {
	deploy := "../../deploy"
	err := errors.Join(
		manifests(filepath.Join(deploy, "kubernetes")),
		composition(filepath.Join(deploy, "compose.yaml")),
		containerfile(filepath.Join(deploy, "Containerfile")),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// manifests decodes every document of every file into the types of Kubernetes. An unknown or
// a repeated field is an error.
func manifests(directory string) error {
	evaluate, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	decode := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	files, err := filepath.Glob(filepath.Join(directory, "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s: no manifests: %w", directory, err)
	}
	var wrong []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if filepath.Base(file) == "kustomization.yaml" {
			if err := yaml.UnmarshalStrict(text, new(kustomize.Kustomization)); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", file, err))
			}
			continue
		}
		for reader := lines.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text))); ; {
			document := make([]byte, 1<<20)
			n, err := reader.Read(document)
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			object, kind, err := decode.Decode(document[:n], nil, nil)
			if err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", file, err))
				continue
			}
			fmt.Printf("%s: %s\n", filepath.Base(file), kind)
			var pod *core.PodTemplateSpec
			switch object := object.(type) {
			case *apps.Deployment:
				pod = &object.Spec.Template
			case *apps.StatefulSet:
				pod = &object.Spec.Template
			default:
				continue
			}
			restricted := security.LevelVersion{Level: security.LevelRestricted, Version: security.LatestVersion()}
			for _, result := range evaluate.EvaluatePod(restricted, &meta.ObjectMeta{}, &pod.Spec) {
				if !result.Allowed {
					err := fmt.Errorf("%s: not restricted: %s: %s", file, result.ForbiddenReason, result.ForbiddenDetail)
					wrong = append(wrong, err)
				}
			}
		}
	}
	return errors.Join(wrong...)
}

// composition loads a Compose file.
func composition(file string) error {
	project, err := loader.LoadWithContext(context.Background(), compose.ConfigDetails{
		WorkingDir:  filepath.Dir(file),
		ConfigFiles: []compose.ConfigFile{{Filename: file}},
		Environment: compose.Mapping{"RUN_AS": "1000:1000"},
	}, func(o *loader.Options) { o.SetProjectName("latchkey", true) })
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	fmt.Printf("compose.yaml: %s\n", strings.Join(project.ServiceNames(), ", "))
	return nil
}

// containerfile parses and lints a Dockerfile.
func containerfile(file string) error {
	text, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = text.Close() }()
	parsed, err := parser.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var warnings []error
	lint := linter.New(&linter.Config{Warn: func(rule, description, _, message string, _ []parser.Range) {
		warnings = append(warnings, fmt.Errorf("%s: %s: %s (%s)", file, rule, message, description))
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	fmt.Printf("Containerfile: %d stages\n", len(stages))
	return errors.Join(warnings...)
}
