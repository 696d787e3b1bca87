{{- /* Name of the chart. */}}
{{- define "spillway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Name of every object; 46 characters leave room for the suffixes below 63. */}}
{{- define "spillway.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" }}
{{- else if contains (include "spillway.name" .) .Release.Name }}
{{- .Release.Name | trunc 46 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "spillway.name" .) | trunc 46 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "spillway.serviceAccountName" -}}
{{- default (ternary (include "spillway.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "spillway.metricsServiceName" -}}
{{ include "spillway.fullname" . }}-metrics
{{- end }}

{{- define "spillway.certificateName" -}}
{{ include "spillway.fullname" . }}-serving
{{- end }}

{{- /* Secret that holds the certificate of the webhook. */}}
{{- define "spillway.tlsSecretName" -}}
{{- default (printf "%s-tls" (include "spillway.fullname" .)) .Values.tls.secretName }}
{{- end }}

{{- define "spillway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "spillway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "spillway.labels" -}}
{{ include "spillway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "spillway.image" -}}
{{- with .Values.image -}}
{{- with .registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- /* Namespaces that the webhook does not see, as JSON. Whatever is configured, the cluster's own pods do not wait for us. */}}
{{- define "spillway.excludedNamespaces" -}}
{{- append (concat (list "kube-system") (default list .Values.webhook.excludedNamespaces)) .Release.Namespace | uniq | toJson }}
{{- end }}

{{- /* The manager's configuration file. */}}
{{- define "spillway.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $_ := set $config "apiVersion" "config.spillway-project.io/v1alpha1" }}
{{- $_ := set $config "kind" "ManagerConfiguration" }}
{{- $_ := set $config "role" .Values.role }}
{{- $_ := set $config.leaderElection "namespace" (default .Release.Namespace $config.leaderElection.namespace) }}
{{- $_ := set $config.sidecarSet "namespace" (include "spillway.sidecarNamespace" .) }}
{{- $_ := set $config.sidecarSet "excludedNamespaces" (include "spillway.excludedNamespaces" . | fromJsonArray) }}
{{- if not .Values.metrics.enabled }}
{{- $_ := set $config.metrics "port" -1 }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- /* Whether the role has pods placed, or restored: "true" or nothing. */}}
{{- define "spillway.places" -}}
{{- if ne .Values.role "member" }}true{{ end }}
{{- end }}
{{- define "spillway.restores" -}}
{{- if ne .Values.role "upper" }}true{{ end }}
{{- end }}

{{- /* What a member needs: to ask who may read its metrics. It reads nothing of the cluster. */}}
{{- define "spillway.memberRules" -}}
- apiGroups:
  - authentication.k8s.io
  resources:
  - tokenreviews
  verbs:
  - create
- apiGroups:
  - authorization.k8s.io
  resources:
  - subjectaccessreviews
  verbs:
  - create
{{- end }}

{{- /* CEL that is true of pods that a provider created for another cluster. */}}
{{- define "spillway.restored" -}}
{{- $marks := list }}
{{- range $key, $value := merge (dict "virtual-pod" "true" "kosmos-io/pod" "true") .Values.member.podLabels }}
{{- $marks = append $marks (printf "('%s' in object.metadata.labels && object.metadata.labels['%s'] == '%s')" $key $key $value) }}
{{- end -}}
has(object.metadata.labels) && ({{ join " || " $marks }})
{{- end }}

{{- /* Where the revisions of SidecarSets are. */}}
{{- define "spillway.sidecarNamespace" -}}
{{- default .Release.Namespace .Values.config.sidecarSet.namespace -}}
{{- end }}

{{- /* Where the API server finds the CA of the webhook: an annotation ... */}}
{{- define "spillway.caAnnotation" -}}
{{- if .Values.certManager.enabled -}}
cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ include "spillway.certificateName" . }}
{{- end }}
{{- end }}

{{- /* ... or a field of the client configuration. */}}
{{- define "spillway.clientConfig" -}}
{{- $root := index . 0 -}}
service:
  name: {{ include "spillway.fullname" $root }}
  namespace: {{ $root.Release.Namespace }}
  path: {{ index . 1 }}
  port: {{ $root.Values.service.port }}
{{- if not $root.Values.certManager.enabled }}
caBundle: {{ $root.Values.tls.caBundle }}
{{- end }}
{{- end }}
