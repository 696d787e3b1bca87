package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// file is one file of a volume.
type file struct {
	content []byte
	mode    fs.FileMode
}

// token is a service account token and when to ask for the next one.
type token struct {
	value   string
	refresh time.Time
}

const defaultFileMode = 0o644

// volumePath is the folder of a volume on this machine, or the path itself of a hostPath.
func (p *pod) volumePath(volume *corev1.Volume) string {
	if volume.HostPath != nil {
		return volume.HostPath.Path
	}
	return filepath.Join(p.dir, "volumes", volume.Name)
}

// syncVolumes writes all volumes, or brings them up to date. The kubelet takes up to a minute to
// notice a change; here it is looked for every second.
func (p *pod) syncVolumes(ctx context.Context) error {
	spec := p.spec()
	for i := range spec.Spec.Volumes {
		if err := p.syncVolume(ctx, &spec.Spec.Volumes[i]); err != nil {
			return fmt.Errorf("volume %s: %w", spec.Spec.Volumes[i].Name, err)
		}
	}
	return nil
}

func (p *pod) syncVolume(ctx context.Context, volume *corev1.Volume) error {
	dir := p.volumePath(volume)
	switch {
	case volume.HostPath != nil:
		return nil
	case volume.EmptyDir != nil:
		return makeShared(dir)
	}
	sources, mode, err := projections(volume)
	if err != nil {
		return err
	}
	files := map[string]file{}
	for _, source := range sources {
		if err := p.project(ctx, files, source, mode, volume.Name); err != nil {
			return err
		}
	}
	return writeVolume(dir, files, fsGroup(p.spec()))
}

// makeShared makes a folder that any user of the pod may write to, as an emptyDir is.
func makeShared(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	return os.Chmod(dir, 0o777) // whatever the umask says
}

// projections expresses every volume that is made of API objects as a projected one.
func projections(volume *corev1.Volume) ([]corev1.VolumeProjection, *int32, error) {
	switch {
	case volume.Projected != nil:
		return volume.Projected.Sources, volume.Projected.DefaultMode, nil
	case volume.Secret != nil:
		s := volume.Secret
		return []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: s.SecretName}, Items: s.Items, Optional: s.Optional,
		}}}, s.DefaultMode, nil
	case volume.ConfigMap != nil:
		c := volume.ConfigMap
		return []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: c.LocalObjectReference, Items: c.Items, Optional: c.Optional,
		}}}, c.DefaultMode, nil
	case volume.DownwardAPI != nil:
		d := volume.DownwardAPI
		return []corev1.VolumeProjection{{DownwardAPI: &corev1.DownwardAPIProjection{Items: d.Items}}}, d.DefaultMode, nil
	}
	return nil, nil, errors.New("this kind of volume is not supported")
}

// project adds the files of one source.
func (p *pod) project(ctx context.Context, files map[string]file, source corev1.VolumeProjection, mode *int32, volume string) error {
	namespace := p.spec().Namespace
	switch {
	case source.Secret != nil:
		found, err := p.node.listers.Secrets.Secrets(namespace).Get(source.Secret.Name)
		if err != nil {
			return missing(err, source.Secret.Optional)
		}
		return addItems(files, found.Data, source.Secret.Items, mode, source.Secret.Optional)
	case source.ConfigMap != nil:
		found, err := p.node.listers.ConfigMaps.ConfigMaps(namespace).Get(source.ConfigMap.Name)
		if err != nil {
			return missing(err, source.ConfigMap.Optional)
		}
		data := map[string][]byte{}
		for key, value := range found.Data {
			data[key] = []byte(value)
		}
		maps.Copy(data, found.BinaryData)
		return addItems(files, data, source.ConfigMap.Items, mode, source.ConfigMap.Optional)
	case source.DownwardAPI != nil:
		return p.addDownward(files, source.DownwardAPI.Items, mode)
	case source.ServiceAccountToken != nil:
		value, err := p.token(ctx, volume, source.ServiceAccountToken)
		if err != nil {
			return err
		}
		files[source.ServiceAccountToken.Path] = file{[]byte(value), fileMode(mode, nil)}
		return nil
	}
	return errors.New("this kind of projection is not supported")
}

func addItems(files map[string]file, data map[string][]byte, items []corev1.KeyToPath, mode *int32, optional *bool) error {
	if len(items) == 0 {
		for key, value := range data {
			files[key] = file{value, fileMode(mode, nil)}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if ok {
			files[item.Path] = file{value, fileMode(mode, item.Mode)}
		} else if optional == nil || !*optional {
			return fmt.Errorf("no key %q", item.Key)
		}
	}
	return nil
}

func (p *pod) addDownward(files map[string]file, items []corev1.DownwardAPIVolumeFile, mode *int32) error {
	for _, item := range items {
		var value string
		var err error
		if item.FieldRef != nil {
			value, err = p.field(item.FieldRef.FieldPath)
		} else {
			value, err = p.resourceOf(item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		files[item.Path] = file{[]byte(value), fileMode(mode, item.Mode)}
	}
	return nil
}

func (p *pod) resourceOf(ref *corev1.ResourceFieldSelector) (string, error) {
	spec := p.spec()
	for i := range spec.Spec.Containers {
		if spec.Spec.Containers[i].Name == ref.ContainerName {
			return resourceField(&spec.Spec.Containers[i], ref)
		}
	}
	return "", fmt.Errorf("no container %q", ref.ContainerName)
}

func fileMode(volume, item *int32) fs.FileMode {
	switch {
	case item != nil:
		return fs.FileMode(*item)
	case volume != nil:
		return fs.FileMode(*volume)
	}
	return defaultFileMode
}

// token asks for a token bound to the pod, and for the next one when four fifths of its life are over.
func (p *pod) token(ctx context.Context, volume string, source *corev1.ServiceAccountTokenProjection) (string, error) {
	key := volume + "/" + source.Path
	if t, ok := p.tokens[key]; ok && time.Now().Before(t.refresh) {
		return t.value, nil
	}
	spec := p.spec()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: spec.Name, UID: spec.UID},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	asked := time.Now()
	account := spec.Spec.ServiceAccountName
	answer, err := p.node.client.CoreV1().ServiceAccounts(spec.Namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("requesting a token of service account %s: %w", account, err)
	}
	life := answer.Status.ExpirationTimestamp.Sub(asked)
	p.tokens[key] = token{value: answer.Status.Token, refresh: asked.Add(life * 4 / 5)}
	return answer.Status.Token, nil
}

// noGroup leaves a file's group as it is.
const noGroup = -1

// fsGroup is the group that the pod's volumes belong to. Without root there is nothing to do: the
// containers run as the user who writes the files.
func fsGroup(object *corev1.Pod) int {
	if context := object.Spec.SecurityContext; context != nil && context.FSGroup != nil && os.Geteuid() == 0 {
		return int(*context.FSGroup)
	}
	return noGroup
}

// dataLink is the symbolic link that all files of a volume lead through: changing it changes them
// all at once, and programs that watch volumes watch for exactly that.
const dataLink = "..data"

// writeVolume makes dir show files, as the kubelet does: nothing happens when they are the same, and
// else they change all at once.
//
// group, unless it is noGroup, may read the files whatever their mode says.
func writeVolume(dir string, files map[string]file, group int) error {
	if upToDate(dir, files) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	previous, _ := os.Readlink(filepath.Join(dir, dataLink)) // none the first time
	version, err := os.MkdirTemp(dir, "..")
	if err != nil {
		return err
	}
	if err := os.Chmod(version, 0o755); err != nil {
		return err
	}
	for name, f := range files {
		target := filepath.Join(version, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		mode := f.mode
		if group != noGroup {
			mode |= 0o440
		}
		if err := errors.Join(os.WriteFile(target, f.content, mode), os.Chown(target, -1, group), os.Chmod(target, mode)); err != nil {
			return err
		}
	}
	next := filepath.Join(dir, "..next")
	if err := os.Symlink(filepath.Base(version), next); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	if err := linkTop(dir, files); err != nil {
		return err
	}
	if previous == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, previous))
}

// linkTop makes a link for the first part of every file's path and removes those of files that are gone.
func linkTop(dir string, files map[string]file) error {
	wanted := map[string]bool{}
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		wanted[top] = true
		err := os.Symlink(filepath.Join(dataLink, top), filepath.Join(dir, top))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") || wanted[entry.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// upToDate tells whether dir shows exactly files.
func upToDate(dir string, files map[string]file) bool {
	data, err := filepath.EvalSymlinks(filepath.Join(dir, dataLink))
	if err != nil {
		return false
	}
	found := 0
	err = filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(data, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if f, ok := files[name]; !ok || !bytes.Equal(content, f.content) {
			return errors.New("differs")
		}
		found++
		return nil
	})
	return err == nil && found == len(files)
}
