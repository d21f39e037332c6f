"""What the demo has spoken: three applications that share one account, in Chinese and English."""

from __future__ import annotations

WOMAN = "BV001_streaming"
MAN = "BV002_streaming"
ARIANA = "BV503_streaming"
JACKSON = "BV504_streaming"

# application → (name of the audio file, voice, text)
SAMPLE: dict[str, tuple[tuple[str, str, str], ...]] = {
    "bookshop": (
        ("01-welcome", WOMAN, "欢迎来到城南书店，今天新书八折。"),
        ("02-opening-hours", MAN, "本店营业时间为上午九点到晚上九点。"),
        ("03-chapter-one", WOMAN, "第一章。清晨的雾还没有散，渡口已经有人在等船。"),
        ("04-chapter-two", MAN, "船夫放下手里的茶碗，抬头看了看天色。"),
        ("05-chapter-three", WOMAN, "她把信折好，放进最里面的口袋，再也没有提起这件事。"),
        ("06-poem", MAN, "床前明月光，疑是地上霜。举头望明月，低头思故乡。"),
        ("07-kitchen", WOMAN, "先把水烧开，再放面条，煮三分钟就可以了。"),
        ("08-thanks", MAN, "感谢您的光临，我们下次再见。"),
    ),
    "weather": (
        ("09-beijing", WOMAN, "北京，晴，最高气温二十六度，北风三级。"),
        ("10-shanghai", MAN, "上海，小雨，出门请带好雨伞。"),
        ("11-chengdu", WOMAN, "成都，多云，空气质量良好，适合户外活动。"),
        ("12-harbin", MAN, "哈尔滨，今晚有雪，路面湿滑，请小心驾驶。"),
        ("13-london", ARIANA, "London: light rain until noon, then sunny spells, eighteen degrees."),
        ("14-oslo", JACKSON, "Oslo: clear skies tonight, and a good chance of northern lights."),
        ("15-warning", MAN, "注意：沿海地区明天有大风，渔船请尽快回港。"),
        ("16-weekend", ARIANA, "The weekend will be warm and dry. Enjoy your time outside."),
    ),
    "navigation": (
        ("17-start", WOMAN, "导航开始，全程十二公里，大约需要二十五分钟。"),
        ("18-left", WOMAN, "前方三百米左转，进入人民路。"),
        ("19-camera", MAN, "前方有测速摄像头，限速六十。"),
        ("20-right", ARIANA, "In two hundred meters, turn right onto Station Road."),
        ("21-roundabout", JACKSON, "At the roundabout, take the third exit."),
        ("22-traffic", ARIANA, "Heavy traffic ahead. A faster route saves six minutes."),
        ("23-parking", MAN, "停车场在您的右手边，目前还有空位。"),
        ("24-arrived", JACKSON, "You have arrived at your destination."),
    ),
}
