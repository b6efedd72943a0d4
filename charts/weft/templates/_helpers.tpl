{{- define "weft.labels" -}}
app.kubernetes.io/part-of: weft
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "weft.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* What the operator and the uninstallation are told alike. */ -}}
{{- define "weft.env" -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: WEFT_AGENT_IMAGE
  value: {{ include "weft.image" . | quote }}
- name: WEFT_IMAGE_PULL_POLICY
  value: {{ .Values.image.pullPolicy | quote }}
{{- with .Values.imagePullSecrets }}
- name: WEFT_IMAGE_PULL_SECRETS
  value: {{ join "," . | quote }}
{{- end }}
- name: WEFT_LOG
  value: {{ .Values.operator.log | quote }}
{{- if .Values.apiServer.host }}
{{- $host := .Values.apiServer.host }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ $host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.apiServer.port | quote }}
- name: WEFT_AGENT_API_SERVER
  value: {{ printf (ternary "[%s]:%d" "%s:%d" (contains ":" $host)) $host (int .Values.apiServer.port) | quote }}
{{- end }}
{{- end }}

{{- /* The operator works before there is a pod network, and needs nothing of its host. */ -}}
{{- define "weft.pod" -}}
serviceAccountName: weft-operator
hostNetwork: true
dnsPolicy: Default
priorityClassName: system-cluster-critical
tolerations:
- operator: Exists
  effect: NoSchedule
# Nodes are not ready until Weft runs; and another node takes over soon when this one is gone.
- key: node.kubernetes.io/not-ready
  operator: Exists
  effect: NoExecute
- key: node.kubernetes.io/unreachable
  operator: Exists
  effect: NoExecute
  tolerationSeconds: 30
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.operator.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "weft.container" -}}
image: {{ include "weft.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: ["/weft-operator"]
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: ["ALL"]
{{- end }}
