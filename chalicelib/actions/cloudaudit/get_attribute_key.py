"""What events can be searched by."""

from typing import Annotated, Any, Final

from chalicelib.context import Context
from chalicelib.errors import InvalidParameter
from chalicelib.params import RECORDED, OneOf

_KEYS: Final = (
    ("ReadOnly", "select", "只读", "Read only"),
    ("AccessKeyId", "text", "访问密钥", "Access key"),
    ("RequestId", "text", "请求ID", "Request ID"),
    ("EventName", "select", "事件名称", "Event name"),
    ("ResourceName", "text", "资源名称", "Resource name"),
    ("ResourceType", "select", "资源类型", "Resource type"),
    ("Username", "text", "用户名", "User name"),
    ("ActionType", "select", "操作类型", "Action type"),
    ("PrincipalId", "text", "用户ID", "User ID"),
    ("ResourceId", "text", "资源ID", "Resource ID"),
    ("SensitiveAction", "select", "敏感操作", "Sensitive action"),
    ("ApiErrorCode", "text", "API错误码", "API error code"),
    ("CamErrorCode", "text", "鉴权错误码", "Authorization error code"),
    ("SourceIPAddress", "text", "源IP地址", "Source IP address"),
    ("Tags", "text", "标签", "Tags"),
)
_STARTERS: Final = {
    "zh": {"select": "选择", "text": "输入"},
    "en": {"select": "Select ", "text": "Enter "},
}


def get_attribute_key(
    ctx: Context, *, website_type: Annotated[str, OneOf(("zh", "en"), InvalidParameter), RECORDED] = "zh"
) -> dict[str, Any]:
    ctx.authorise()
    details = []
    for order, (value, label_type, chinese, english) in enumerate(_KEYS, 1):
        label = chinese if website_type == "zh" else english
        starter = _STARTERS[website_type][label_type] + (label if website_type == "zh" else label.lower())
        details.append(
            {"Value": value, "LabelType": label_type, "Label": label, "Starter": starter, "Order": order}
        )
    return {"AttributeKeyDetails": details}
