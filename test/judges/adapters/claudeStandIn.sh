#!/bin/sh
# In place of Claude Code: speaks the stream of JSON lines that the SDK expects. Answers control requests, runs the text
# of a prompt as a command, and returns its output, one line, as the result.
echo start >> /tmp/starts
echo $$ > /tmp/pid
while read -r line; do
  case "$line" in
    *'"type":"control_request"'*)
      id=${line#*\"request_id\":\"}
      id=${id%%\"*}
      printf '{"type":"control_response","response":{"subtype":"success","request_id":"%s","response":{}}}\n' "$id"
      ;;
    *'"type":"user"'*)
      echo '{"type":"system","subtype":"init","session_id":"s","tools":[],"mcp_servers":[],"model":"m","cwd":"/work"}'
      text=${line#*\"text\":\"}
      text=${text#*\"content\":\"}
      text=${text%%\"\}*}
      case "$text" in
        DIE) exit 7 ;;
        HANG) exec sleep 1000 ;;
      esac
      printf '{"type":"result","subtype":"success","is_error":false,"result":"%s","session_id":"s"}\n' "$(eval "$text")"
      ;;
  esac
done
